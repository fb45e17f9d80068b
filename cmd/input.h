/* cmd/input.h - models, texts and token ids as people give them. */
#ifndef GK_CMD_INPUT_H
#define GK_CMD_INPUT_H

#include "cmd/cli.h"
#include "quant/model.h"
#include "verify/signature.h"
#include "verify/tokenizer.h"

/* What --spool and a signal mean to whoever opens a model. */
gk_open_options gk_cli_opening(const gk_cli *cli);

/* gk_model_open() and gk_model_open_whole() with these. */
gk_catalog *gk_cli_model(const gk_cli *cli, const char *path, gk_err *err);
gk_catalog *gk_cli_model_whole(const gk_cli *cli, const char *path, gk_err *err);

/* Adds the file at path, or standard input when it is "-", to out. False and *err. */
bool gk_read_text(const char *path, gk_text *out, gk_err *err);

/* Adds all values of --text, one after the other; without any, standard input. */
bool gk_read_texts(const gk_cli *cli, gk_text *out, gk_err *err);

/* Reads ids separated by white space or commas. name is for messages, or NULL. False: FORMAT with
 * the byte offset, NOMEM. */
bool gk_parse_ids(const gk_text *in, const char *name, gk_ids *ids, gk_err *err);

/* Reads the signature that --signature names, if any: gk_signature_read(). */
bool gk_cli_signature(const gk_cli *cli, gk_catalog *c, gk_sums *sums, gk_err *err);

#endif
