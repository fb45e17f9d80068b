/* formats/official.h - what is known of xai-org/grok-2, so that a download of it can be examined
 * without any other file: its config.json, and by that every name, shape and count. Digests of
 * its files are not known here. */
#ifndef GK_FORMATS_OFFICIAL_H
#define GK_FORMATS_OFFICIAL_H

#include "formats/catalog.h"

#define GK_OFFICIAL_FILES      39u
#define GK_OFFICIAL_TENSORS    2307u
#define GK_OFFICIAL_STORED     13059u
#define GK_OFFICIAL_PARAMETERS UINT64_C(269515497472)
#define GK_OFFICIAL_BYTES      UINT64_C(539030994944) /* all of it bf16                      */
#define GK_OFFICIAL_GATES      UINT64_C(8388608)      /* more when the routers are float32  */

/* Returns the config as a tree (gk_json_free()), or NULL and NOMEM. */
gk_json *gk_official_config(gk_err *err);

/* Returns whether a config describes a model of exactly that geometry. */
bool gk_official_is(const gk_json *config);

/* Gives a release that lost its config.json that one, when its embedding has the size of
 * Grok-2's, and says so in a note. False: NOMEM. */
bool gk_official_adopt(gk_catalog *c, gk_err *err);

#endif
