/* cmd/bom.h - what a model is made of, as a CycloneDX ML-BOM. */
#ifndef GK_CMD_BOM_H
#define GK_CMD_BOM_H

#include "cmd/cli.h"
#include "formats/catalog.h"

/* Adds a document of CycloneDX 1.6 (ECMA-424): the model as a component of the type
 * machine-learning-model, a component for each file, with the SHA-256 that a list beside the
 * model states; what was made of what where grokkit.json says it. Reads no weights. The same
 * model gives the same bytes: no time, no serial number. False: NOMEM, IO. */
bool gk_bom_add(gk_catalog *c, const char *arch, gk_text *out, gk_err *err);

#endif
