#include "quant/targets.h"
bool gk_gguf_fit(gk_plan *p, gk_err *err) { (void)p; (void)err; return true; }
bool gk_gguf_entries(gk_plan *p, gk_err *err) { (void)p; (void)err; return false; }
bool gk_gguf_shards(gk_plan *p, gk_err *err) { (void)p; (void)err; return false; }
