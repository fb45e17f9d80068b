/* formats/zip.h - the members of a zip file: where they lie, and whether they are deflated.
 *
 * A container whose data is read in place (PyTorch) wants stored members only. What is
 * encrypted, or packed by another method than deflate, is always refused. */
#ifndef GK_FORMATS_ZIP_H
#define GK_FORMATS_ZIP_H

#include "formats/io.h"

#define GK_MAX_ZIP_MEMBERS 1000000u

typedef struct gk_zip_member {
    const char *name; /* relative, no "..", unique */
    uint64_t off, bytes;
    uint64_t packed_bytes; /* in the file; another number than bytes only when deflated */
    uint64_t header_off;
    uint32_t crc; /* as the file says */
    bool deflated;
} gk_zip_member;

typedef struct gk_zip {
    const gk_zip_member *member; /* byte-sorted by name */
    uint64_t n;
} gk_zip;

/* Returns whether the n bytes begin a zip file with a member. */
bool gk_zip_begins(const unsigned char *head, uint64_t n);

/* Reads the central directory and compares it with the header of each member; all lives
 * in a. False and *err: FORMAT for what is malformed or could be read in two ways (members
 * that overlap, names that differ, paths that lead out), UNSUPPORTED for compressed and
 * encrypted members, LIMIT, IO, NOMEM. */
bool gk_zip_read(gk_arena *a, const gk_file *f, gk_zip *out, gk_err *err);

/* The same, but takes deflated members too. */
bool gk_zip_read_packed(gk_arena *a, const gk_file *f, gk_zip *out, gk_err *err);

/* Returns the member, or NULL. */
const gk_zip_member *gk_zip_find(const gk_zip *z, const char *name);

#endif
