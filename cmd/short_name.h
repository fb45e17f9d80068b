/* cmd/short_name.h - names of tensors that fit a table: many layers, one line. */
#ifndef GK_CMD_SHORT_NAME_H
#define GK_CMD_SHORT_NAME_H

#include <stddef.h>

/* Writes the name with "model.layers.N." as "L.", ".experts.N." as ".experts.E." and
 * without ".weight"; tensors that differ only there get the same short name. */
void gk_short_name(const char *name, char *out, size_t size);

#endif
