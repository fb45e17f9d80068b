/* quant/kernels_scalar.c - the specification: lanes as arrays, operations as loops. */
#define KERNELS     gk_kernels_scalar
#define KERNELS_ISA "scalar"
#include "quant/kernels_body.h"
