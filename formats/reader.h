/* formats/reader.h - what the readers of model files share while a catalog is
 * being built. Private to formats/. */
#ifndef GK_FORMATS_READER_H
#define GK_FORMATS_READER_H

#include "formats/catalog.h"

/* What a person pointed at, looked at once for all sniffers. An archive is a directory
 * whose files are members. */
typedef struct gk_source {
    const char  *path;  /* links resolved down to files and folders that exist */
    const char  *index; /* the *.index.json that was named, or NULL            */
    bool         is_dir;
    const char **name; /* directory: its entries, byte-sorted                 */
    uint64_t     n_names;
    const gk_file *const *member; /* archive: what name[i] is; NULL: on disk  */
} gk_source;

/* Looks at path: a file, a directory, a Hugging Face cache repository (which leads on to
 * its snapshot), an index (its directory). */
bool gk_source_look(gk_arena *a, const char *path, gk_source *s, gk_err *err);

/* Returns whether the directory has a regular file of that name. */
bool gk_source_has(gk_arena *a, const gk_source *s, const char *name);

/* Opens a file of the directory, or the file itself when s is one. */
gk_file *gk_source_file(gk_arena *a, const gk_source *s, const char *name, gk_err *err);

/* Returns the parsed file of the directory; NULL and *err with its name. */
gk_json *gk_source_json(gk_arena *a, const gk_source *s, const char *name, gk_err *err);

/* A format that can be read: one row of the table in formats/format.c. */
typedef struct gk_reader {
    const char *name;
    bool (*sniff)(const gk_source *s);
    /* Fills c->input, c->stored and, through gk_catalog_set(), the tensors. */
    bool (*open)(gk_catalog *c, const gk_source *s, gk_err *err);
} gk_reader;

extern const gk_reader gk_reader_release, gk_reader_flax, gk_reader_hf, gk_reader_safetensors;

/* Appends an entry to c->stored; *s is copied, its strings are not. False: NOMEM,
 * or LIMIT past GK_MAX_TENSORS. May move c->stored: point into it only after the
 * last file was read. */
bool gk_stored_add(gk_catalog *c, const gk_stored *s, gk_err *err);

/* Opens the file of s called name as the next weight file of c and has its header read
 * (which adds entries, or nothing). What is wrong with the file becomes a malformed
 * finding; false only for NOMEM. c->input must have room. */
bool gk_input_load(gk_catalog *c, const gk_source *s, const char *name, int rank,
                   bool (*read)(gk_catalog *c, uint64_t input, gk_err *err), gk_err *err);

/* Reads the header of a safetensors file and adds its entries. False and FORMAT,
 * LIMIT, IO or NOMEM with file, tensor and byte offset; c->stored is then as
 * before. */
bool gk_safetensors_read(gk_catalog *c, uint64_t input, gk_err *err);

/* Makes t the tensor that is exactly the entry s. */
void gk_tensor_from_stored(gk_tensor *t, const gk_stored *s);

/* Returns true when s ends with suffix. */
bool gk_ends_with(const char *s, const char *suffix);

/* Takes a "-TP-003.safetensors" or "-TP-common.safetensors" file name apart: the
 * rank (-1: common). False when it is no such name. */
bool gk_release_rank(const char *name, int *rank);

/* Reads the directory's index only to say what is wrong with its file names. */
bool gk_index_examine(gk_catalog *c, const gk_source *s, gk_err *err);

/* Returns the distinct files that an index's weight map names, sorted, in the catalog's
 * arena, *n of them; a finding for each that is no plain file name. NULL and NOMEM. */
const char **gk_index_files(gk_catalog *c, const char *index, const gk_json *map, uint64_t *n,
                            gk_err *err);

/* Makes every entry of c->stored a tensor; of a name that stands twice the first
 * is kept and a finding says so. */
bool gk_tensors_from_all(gk_catalog *c, gk_err *err);

#endif
