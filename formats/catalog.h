/* formats/catalog.h - the tensors of one model, whatever files hold them.
 *
 *   stored entry   what a file declares: name, dtype, shape, byte range
 *   piece          a rectangle of rows and columns that lies in one entry
 *   part           a matrix of stored elements, tiled exactly by its pieces
 *   tensor         what a reader asks for: one part of plain values, or the
 *                  parts of an encoding (codes, scales, zero points)
 *
 * Eight tensor-parallel slices side by side are eight pieces of one part; a
 * stack of experts is eight pieces on top of each other. Opening reads headers
 * only; bytes are pulled by rectangle, so memory does not grow with the model.
 *
 * The catalog owns everything in one arena; all dies in gk_catalog_close().
 * After opening it is read only, and reading from many threads is safe. */
#ifndef GK_FORMATS_CATALOG_H
#define GK_FORMATS_CATALOG_H

#include <signal.h>

#include "formats/dtype.h"
#include "formats/finding.h"
#include "formats/io.h"
#include "formats/json.h"

#define GK_MAX_DIMS    8
#define GK_MAX_TENSORS 10000000u /* stored entries of one model */
#define GK_MAX_PARTS   4

/* A range of a file whose CRC-32 the file itself states. */
typedef struct gk_crc {
    const char *name; /* of the member */
    uint64_t    off, bytes;
    uint32_t    crc;
} gk_crc;

/* One weight file. */
typedef struct gk_input {
    gk_file    *file;
    const char *name;         /* relative to the model directory               */
    int         rank;         /* tensor-parallel rank, -1: whole tensors       */
    uint64_t    header_bytes; /* data begins here; 0: between other things     */
    bool        has_format;   /* its metadata names a format ("pt")            */
    bool        usable;       /* its header is in order                        */
    const gk_crc *crc;        /* n_crcs of them, or NULL                       */
    uint64_t    n_crcs;
} gk_input;

/* What a file declares. 32 bytes and its name: a header may hold a million. */
typedef struct gk_stored {
    const char     *name; /* UTF-8, NUL-terminated; may hold control characters */
    const uint64_t *dim;  /* elements, slowest first                            */
    uint64_t        off;  /* of its first byte in the file                      */
    uint32_t        input; /* index into gk_catalog.input                       */
    uint8_t         dtype, ndim;
    bool            odd_name; /* empty, a NUL or other control character in it  */
} gk_stored;

/* Rows [row, row + n_rows) x columns [col, col + n_cols) of a part. Element (r, c) of
 * the piece lies at off + r * row_bytes + c * col_bytes of the entry's file. Block types
 * have whole rows: col_bytes is 0 for elements (or blocks) one after the other. A
 * transposed tensor has its element's size as row_bytes; a row_bytes of 0 repeats a row. */
typedef struct gk_piece {
    const gk_stored *stored;
    uint64_t         row, col, n_rows, n_cols; /* elements of the part */
    uint64_t         off, row_bytes, col_bytes;
} gk_piece;

typedef enum gk_role {
    GK_PART_VALUES, /* plain elements              */
    GK_PART_CODES,  /* packed integer codes        */
    GK_PART_SCALES,
    GK_PART_ZEROS, /* packed zero points           */
    GK_PART_SHAPE, /* the logical shape, as stored */
    GK_PART_INDEX, /* the group of each column     */
} gk_role;

typedef struct gk_part {
    gk_role         role;
    gk_dtype        dtype;
    uint64_t        n_rows, n_cols; /* elements; all dims but the last fold into rows */
    const gk_piece *piece;
    uint64_t        n_pieces;
} gk_part;

struct gk_scheme; /* quant/scheme.h */
struct gk_gguf;   /* formats/gguf.h */
struct gk_archive; /* formats/archive.h */

typedef struct gk_tensor {
    const char     *name; /* canonical: the Hugging Face name                  */
    const uint64_t *dim;  /* elements, slowest first: W [out, in]              */
    const gk_stored *whole; /* the one entry it is, or NULL                    */
    const gk_part   *part;  /* n_parts of them when whole is NULL              */
    const struct gk_scheme *scheme; /* how it is encoded; NULL: plain values   */
    uint8_t n_parts, ndim, dtype;   /* dtype: of the values when plain; n_parts
                                       0: incomplete, a finding says why       */
    uint8_t through; /* bits that values are rounded to as they are read, of a
                        view (quant/through.h); 0: not                         */
} gk_tensor;

/* A file of the model directory that holds no weights (tokenizer, licence); one of an
 * archive, or one that a reader made up, has no path but a file. */
typedef struct gk_extra {
    const char    *name, *path;
    uint64_t       bytes;
    const gk_file *file;
} gk_extra;

typedef struct gk_catalog {
    gk_arena    *arena;
    const char  *path;      /* as the user gave it                            */
    const char  *directory; /* the model directory, NULL for a file           */
    struct gk_archive *archive; /* the file is one, its members are the files; or NULL */
    const char  *format;    /* "release", "gguf", "hf", "safetensors", "compressed-tensors" */
    gk_input    *input;     /* weight files, byte-sorted by name               */
    gk_stored   *stored;
    gk_tensor   *tensor;    /* in natural order of their names                */
    gk_extra    *extra;
    const char **folder;    /* names of folders in the directory: nothing in them is read */
    uint64_t     n_inputs, n_stored, n_tensors, n_extras, n_folders;
    bool         renamed;   /* tensors have not the names that code beside them knows */
    gk_json     *config;    /* config.json (of a GGUF: made of its keys), or NULL */
    char        *config_text;
    uint64_t     config_len;
    gk_findings  findings;  /* what the readers noticed                       */
    const struct gk_gguf *gguf; /* the keys of a GGUF, else NULL              */
} gk_catalog;

/* Opens whatever a person points at: a release or Hugging Face directory (also
 * a cache repository of links), an index, a single weight file, an archive. Headers
 * only. What does not fit together (a missing slice, a file that cannot be read)
 * becomes rows of c->findings; whoever needs a whole model asks
 * gk_findings_refuse(). NULL and *err when there is nothing to show at all. */
gk_catalog *gk_catalog_open(const char *path, gk_err *err);
void        gk_catalog_close(gk_catalog *c);

/* What opening may use; NULL stands for all zero. Must outlive only the call. */
typedef struct gk_open_options {
    const char *spool; /* a directory to unpack compressed archives into; NULL: little, in
                          memory */
    const volatile sig_atomic_t *stop; /* nonzero: give up with INTERRUPTED; or NULL */
} gk_open_options;

/* The same. An archive (.tar, .zip, .tar.gz, .tar.xz, .tar.zst) stands for the folder in it
 * that holds a model; its members are read where they lie or are unpacked first. */
gk_catalog *gk_catalog_open_with(const char *path, const gk_open_options *options, gk_err *err);

/* Opens a file by name: of the model directory, of the archive, or beside the single file
 * that the model is. Close with gk_file_close(). NULL and IO, FORMAT, NOMEM. */
gk_file *gk_catalog_file(gk_arena *a, const gk_catalog *c, const char *name, gk_err *err);

/* Returns whether the model directory or archive has such a file; false for a single one. The
 * path is made in a. */
bool gk_catalog_has(gk_arena *a, const gk_catalog *c, const char *name);

/* Returns the extra of that name, or NULL; opens it (close with gk_file_close()). */
const gk_extra *gk_extra_find(const gk_catalog *c, const char *name);
gk_file        *gk_extra_open(gk_arena *a, const gk_extra *extra, gk_err *err);

/* Returns the tensor of that canonical name, or NULL. */
const gk_tensor *gk_catalog_find(const gk_catalog *c, const char *name);

/* Returns the rows of a tensor (all dims but the last, folded; 1 for a vector or scalar) and
 * its columns (the last dim; 1 for a scalar). */
uint64_t gk_rows(const gk_tensor *t);
uint64_t gk_cols(const gk_tensor *t);

/* Returns the stored bytes of an entry (shape x dtype, which the reader checked), and of
 * all parts of a tensor; 0 for an incomplete one. */
uint64_t gk_stored_bytes(const gk_stored *s);
uint64_t gk_tensor_bytes(const gk_tensor *t);

/* Returns part i (0 .. gk_n_parts() - 1) of t. For a plain one-entry tensor the
 * part and its piece are built in *room, else *room is not used. */
typedef struct gk_part_room {
    gk_part  part;
    gk_piece piece;
} gk_part_room;
int            gk_n_parts(const gk_tensor *t);
const gk_part *gk_part_of(const gk_tensor *t, int i, gk_part_room *room);

/* Returns the stored bytes of n_cols elements of a dtype (whole blocks). */
uint64_t gk_row_bytes(gk_dtype dtype, uint64_t n_cols);

/* Fills buf with rows [row, row + n_rows) x columns [col, col + n_cols) of part i
 * of t, row-major, gk_row_bytes(dtype, n_cols) a row. All or nothing: on false
 * buf is undefined and *err names file, tensor and offset. Thread-safe. */
bool gk_read_part(const gk_catalog *c, const gk_tensor *t, int i, uint64_t row, uint64_t n_rows,
                  uint64_t col, uint64_t n_cols, void *buf, gk_err *err);

/* Compares names so that numbers count: layers.2 stands before layers.10. */
int gk_natural_compare(const char *a, const char *b);

/* ---- for readers --------------------------------------------------------- */

/* Replaces the tensor list (n rows in the catalog's arena) and sorts it naturally.
 * False: FORMAT for a name that stands twice. */
bool gk_catalog_set(gk_catalog *c, gk_tensor *tensor, uint64_t n, gk_err *err);

#endif
