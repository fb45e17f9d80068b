/* formats/journal.c - reading, cutting and appending. */
#include "formats/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "formats/checked.h"
#include "formats/io.h"

#define MOST_BYTES (UINT64_C(1) << 30)
#define SUM_CHARS  9 /* a space and eight digits */

struct gk_journal {
    int         fd;
    const char *name;
    char       *text; /* as found */
    uint64_t    len, at; /* of its good lines; where to go on reading */
    uint64_t    end;     /* of the file */
};

static uint32_t sum_of(const char *text, uint64_t n)
{
    return (uint32_t)crc32(crc32(0, NULL, 0), (const unsigned char *)text, (uInt)n);
}

/* Returns the length of the good line at text, its end included; 0: none. */
static uint64_t good_line(const char *text, uint64_t n)
{
    const char *end = memchr(text, '\n', (size_t)n);
    const uint64_t len = end == NULL ? 0 : (uint64_t)(end - text);
    char want[SUM_CHARS + 1];

    if (len < SUM_CHARS || len > UINT32_MAX)
        return 0;
    snprintf(want, sizeof want, " %08" PRIx32, sum_of(text, len - SUM_CHARS));
    return memcmp(end - SUM_CHARS, want, SUM_CHARS) == 0 ? len + 1 : 0;
}

static bool load(gk_journal *j, bool cut, gk_err *err)
{
    struct stat st;

    if (fstat(j->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return gk_fail_errno(err, j->name, GK_NO_OFF, "stat the journal");
    const uint64_t size = (uint64_t)st.st_size;
    if (size > MOST_BYTES)
        return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "a journal of more than 1 GiB");
    j->text = gk_alloc(size + 1, 1, err);
    if (j->text == NULL)
        return false;
    uint64_t n = 0;
    while (n < size) {
        const ssize_t got = pread(j->fd, j->text + n, (size_t)(size - n), (off_t)n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return gk_fail_errno(err, j->name, n, "read the journal");
        if (got == 0)
            break;
        n += (uint64_t)got;
    }
    for (uint64_t step; (step = good_line(j->text + j->len, n - j->len)) > 0;)
        j->len += step;
    j->end = j->len;
    return !cut || j->len == size || ftruncate(j->fd, (off_t)j->len) == 0
           || gk_fail_errno(err, j->name, j->len, "cut the journal's torn tail");
}

gk_journal *gk_journal_open(int dir, const char *name, bool fresh, gk_err *err)
{
    gk_journal *j = gk_alloc(1, sizeof *j, err);

    if (j == NULL)
        return NULL;
    *j = (gk_journal){.name = name};
    j->fd = openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (fresh ? O_TRUNC : 0),
                   0666);
    if (j->fd >= 0 ? load(j, true, err) : gk_fail_errno(err, name, GK_NO_OFF, "open the journal"))
        return j;
    gk_journal_close(j);
    return NULL;
}

gk_journal *gk_journal_read(const char *path, gk_err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    gk_journal *j = fd < 0 ? NULL : gk_alloc(1, sizeof *j, err);

    if (j == NULL) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    *j = (gk_journal){.name = "journal", .fd = fd};
    if (load(j, false, err))
        return j;
    gk_journal_close(j);
    return NULL;
}

void gk_journal_close(gk_journal *j)
{
    if (j == NULL)
        return;
    if (j->fd >= 0)
        close(j->fd);
    gk_free(j->text);
    gk_free(j);
}

const char *gk_journal_next(gk_journal *j)
{
    if (j->at >= j->len)
        return NULL;
    char *line = j->text + j->at, *end = memchr(line, '\n', (size_t)(j->len - j->at));

    end[-SUM_CHARS] = '\0';
    j->at = (uint64_t)(end + 1 - j->text);
    return line;
}

void gk_journal_line(gk_text *lines, const char *text)
{
    gk_text_printf(lines, "%s %08" PRIx32 "\n", text, sum_of(text, strlen(text)));
}

bool gk_journal_write(gk_journal *j, const gk_text *lines, gk_err *err)
{
    if (!gk_text_ok(lines, err))
        return false;
    if (lines->len == 0)
        return true;
    if (!gk_pwrite(j->fd, j->name, j->end, lines->data, lines->len, err))
        return false;
    j->end += lines->len;
    return fdatasync(j->fd) == 0 || gk_fail_errno(err, j->name, GK_NO_OFF, "sync the journal");
}
