/* formats/lfs.h - the small texts that Git LFS leaves where a large file was not fetched. */
#ifndef GK_FORMATS_LFS_H
#define GK_FORMATS_LFS_H

#include "formats/hash.h"

typedef struct gk_lfs_pointer {
    char     sha256[GK_SHA256_HEX]; /* of the file that it stands for */
    uint64_t bytes;
} gk_lfs_pointer;

/* Returns true and what f stands for when it is such a pointer. */
bool gk_lfs_pointer_read(const gk_file *f, gk_lfs_pointer *out);

#endif
