/* cmd/cmd_version.c - what this binary is and what it picked on this machine. */
#include "cmd/cli.h"

#include <jansson.h>
#include <omp.h>
#include <openssl/crypto.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>

