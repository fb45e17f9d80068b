/* verify/official.c - a release against what is known of xai-org/grok-2. */
#include "verify/official.h"

#include <inttypes.h>
#include <string.h>

#include "formats/official.h"

/* Numbers count by value: 50 and 50.0 are the same setting. */
static bool same_value(const gk_json *a, const gk_json *b)
{
    double x, y;
    bool p, q;

    if (gk_json_as_real(a, &x) && gk_json_as_real(b, &y))
        return x == y;
    if (gk_json_as_bool(a, &p) && gk_json_as_bool(b, &q))
        return p == q;
    const char *s = gk_json_text(a, NULL), *t = gk_json_text(b, NULL);
    return s != NULL && t != NULL && strcmp(s, t) == 0;
}

static bool compare_config(gk_catalog *c, gk_err *err)
{
    gk_json *own = gk_official_config(err);
    const gk_json *value;
    const char *key;
    void *iter = NULL;
    bool ok = own != NULL;

    while (ok && gk_json_next(own, &iter, &key, &value)) {
        const gk_json *here = gk_json_get(c->config, key);
        gk_text a = {0}, b = {0};
        if (here == NULL || gk_json_is_array(value) || same_value(here, value))
            continue;
        gk_json_copy(&a, NULL, here);
        gk_json_copy(&b, NULL, value);
        ok = gk_text_ok(&a, err) && gk_text_ok(&b, err)
             && gk_findings_addf(&c->findings, "official", GK_WARN, "config.json", NULL, err,
                                 "%s is %.80s, in copies of xai-org/grok-2 it is %.80s", key,
                                 a.data, b.data);
        gk_text_free(&a);
        gk_text_free(&b);
    }
    gk_json_free(own);
    return ok;
}

static bool compare_count(gk_catalog *c, const char *what, uint64_t here, uint64_t there,
                          gk_err *err)
{
    return here == there
           || gk_findings_addf(&c->findings, "official", GK_NOTE, NULL, NULL, err,
                               "%" PRIu64 " %s, in xai-org/grok-2 %" PRIu64, here, what, there);
}

bool gk_official_check(gk_catalog *c, const gk_sums *sums, gk_err *err)
{
    uint64_t bytes = 0, parameters = 0;

    if (strcmp(c->format, "release") != 0 || !gk_official_is(c->config))
        return true;
    for (uint64_t i = 0; i < c->n_tensors; i++) {
        bytes += gk_tensor_bytes(&c->tensor[i]);
        parameters += gk_rows(&c->tensor[i]) * gk_cols(&c->tensor[i]);
    }
    if (!compare_config(c, err)
        || !compare_count(c, "weight files", c->n_inputs, GK_OFFICIAL_FILES, err)
        || !compare_count(c, "tensors", c->n_tensors, GK_OFFICIAL_TENSORS, err)
        || !compare_count(c, "stored entries", c->n_stored, GK_OFFICIAL_STORED, err)
        || !compare_count(c, "parameters", parameters, GK_OFFICIAL_PARAMETERS, err)
        || (bytes != GK_OFFICIAL_BYTES + GK_OFFICIAL_GATES
            && !compare_count(c, "bytes of tensors", bytes, GK_OFFICIAL_BYTES, err)))
        return false;
    return sums == NULL || sums->n_expected > 0
           || gk_findings_addf(&c->findings, "official", GK_NOTE, NULL, NULL, err,
                               "names, shapes and counts were compared with those of "
                               "xai-org/grok-2, its bytes with nothing: their digests are not "
                               "known here and no list of them lies beside the files (--sums)");
}
