/* quant/digests.c - one file a thread. */
#include "quant/digests.h"

#define HASH_BYTES (1u << 20)

static bool digest(const gk_file *file, gk_run_file *row, gk_err *err)
{
    void *buf = gk_alloc(HASH_BYTES, 1, err);
    const bool ok = buf != NULL
                    && gk_hash_file(file, 0, file->size, buf, HASH_BYTES, row->sha256, err);

    gk_free(buf);
    return ok;
}

static bool digest_in(const char *dir, gk_run_file *row, gk_err *err)
{
    gk_arena *a = gk_arena_new(err);
    const char *path = a == NULL ? NULL : gk_path_join(a, dir, row->name, err);
    gk_file *file = path == NULL ? NULL : gk_file_open(a, path, err);
    const bool ok = file != NULL && digest(file, row, err);

    gk_file_close(file);
    gk_arena_free(a);
    return ok;
}

/* Files of dir, the first of which were followed, or the inputs of c. */
static bool digest_all(const char *dir, gk_follow *f, const gk_catalog *c, gk_run_file *row,
                       uint64_t n, int threads, const volatile sig_atomic_t *stop, gk_err *err)
{
    const uint64_t followed = f == NULL ? 0 : gk_follow_shards(f);
    bool ok = true;

#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (uint64_t i = 0; i < n; i++) {
        gk_err own = {0};
        const bool done = stop != NULL && *stop
                              ? gk_fail(&own, GK_ERR_INTERRUPTED, GK_NO_OFF, "interrupted")
                          : i < followed ? gk_follow_end(f, i, stop, row[i].sha256, &own)
                          : dir != NULL ? digest_in(dir, &row[i], &own)
                                        : digest(c->input[i].file, &row[i], &own);
        if (!done) {
#pragma omp critical(gk_digests_failure)
            {
                if (err->code == GK_OK)
                    *err = own;
                ok = false;
            }
        }
    }
    return ok;
}

bool gk_digest_files(const char *dir, gk_follow *f, gk_run_file *row, uint64_t n, int threads,
                     const volatile sig_atomic_t *stop, gk_err *err)
{
    return digest_all(dir, f, NULL, row, n, threads, stop, err);
}

bool gk_digest_inputs(const gk_catalog *c, gk_run_file *row, int threads,
                      const volatile sig_atomic_t *stop, gk_err *err)
{
    return digest_all(NULL, NULL, c, row, c->n_inputs, threads, stop, err);
}
