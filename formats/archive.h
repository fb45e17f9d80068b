/* formats/archive.h - a tar or zip file whose members stand in for the files of a directory,
 * or one packed file (model.safetensors.gz) that stands for itself.
 *
 * Nothing is ever extracted under a member's name. A member that lies in the archive as it is
 * becomes a range of it; a packed one is unpacked once into an anonymous file (spool.h).
 * Private to formats/. */
#ifndef GK_FORMATS_ARCHIVE_H
#define GK_FORMATS_ARCHIVE_H

#include "formats/reader.h"
#include "formats/spool.h"

#define GK_MAX_ARCHIVE_MEMBERS 1000000u

typedef enum gk_archive_kind {
    GK_ARCHIVE_NOT, /* for the readers of single files */
    GK_ARCHIVE_TAR,
    GK_ARCHIVE_ZIP,
    GK_ARCHIVE_GZIP, /* a tar in it, as in the next three, or a file of weights alone */
    GK_ARCHIVE_XZ,
    GK_ARCHIVE_ZSTD,
    GK_ARCHIVE_BZIP2,
} gk_archive_kind;

/* A regular file in the archive, or a link. */
typedef struct gk_archived {
    const char *path;      /* relative, parts joined by single '/', none of them "." or ".." */
    uint64_t off, bytes;   /* in the archive, or in the spool */
    uint64_t packed_bytes; /* of a deflated zip member; it is not yet in the spool */
    uint32_t crc;
    bool has_crc, deflated, spooled, link;
} gk_archived;

typedef struct gk_archive {
    gk_file *file; /* the archive */
    gk_spool spool;
    gk_archived *entry; /* n of them; byte-sorted by path once all are known */
    uint64_t n, cap;
    bool lone;                        /* no archive: its entry is what unpacks of the file */
    const gk_source *source;          /* names and members of the folder that was chosen */
    const gk_archived *const *chosen; /* what source->member[i] was */
} gk_archive;

/* Says what the file that s is looks like, by its first bytes and its name. False and
 * UNSUPPORTED for an archive of another kind (7z, RAR, lz4), named in *err. */
bool gk_archive_look(const gk_source *s, gk_archive_kind *kind, gk_err *err);

/* Makes the file *s the directory of its members, or of a packed file of weights what is in it;
 * c->archive owns what it needs. A zip that PyTorch wrote is left as it is. What is not read
 * becomes findings. False and *err: FORMAT for
 * what is malformed or could lead out of the archive, LIMIT, UNSUPPORTED, SPACE, IO, NOMEM. */
bool gk_archive_open(gk_catalog *c, gk_source *s, gk_archive_kind kind,
                     const gk_open_options *options, gk_err *err);
void gk_archive_close(gk_archive *x);

/* Hands the CRCs of zip members to the inputs that were read from them. */
bool gk_archive_keep_crcs(gk_catalog *c, gk_err *err);

/* ---- for formats/tar.c --------------------------------------------------------------- */

/* Adds to an error of which member it speaks. Returns false. */
bool gk_archive_fail_at(const gk_archive *x, const char *path, gk_err *err);

/* Adds an entry with a path checked and made plain. Its name is copied. */
bool gk_archive_add(gk_catalog *c, const gk_archived *entry, gk_err *err);

/* Adds all members of a tar, which stands in c->archive->file or is what unpacks of it. */
bool gk_tar_list(gk_catalog *c, gk_archive_kind kind, gk_err *err);

/* Adds one member of that name: all that unpacks of the file. */
bool gk_packed_list(gk_catalog *c, gk_archive_kind kind, const char *name, gk_err *err);

#endif
