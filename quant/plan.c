/* quant/plan.c - from catalog and recipe to byte ranges. */
#include "quant/gains.h"
#include "quant/plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/rope_factors.h"
#include "formats/vocabulary.h"
#include "quant/blocks.h"
#include "quant/model.h"
#include "quant/provenance.h"
#include "quant/phases.h"
#include "quant/stats.h"
#include "quant/targets.h"

#define DEFAULT_SHARD_BYTES UINT64_C(5000000000)
#define TILE_ELEMS          (UINT64_C(1) << 16) /* of a tile: in a second-level cache    */
#define WIDE_ELEMS          (UINT64_C(1) << 20) /* rows beyond this are cut by columns    */
#define TURNED_COLS         (UINT64_C(1) << 10) /* of a tile of what lies transposed      */
#define TURNED_TIMES        16                  /* and how much larger it is              */
#define PROCESS_BYTES       (UINT64_C(40) << 20) /* program, libraries, stacks            */

/* ---- what each tensor becomes ----------------------------------------------- */

/* Where config.json says the factors of a GGUF in its own words, their tensor is not needed. */
static bool is_said_in_config(const gk_plan *p, const gk_tensor *t)
{
    const char *type;

    return p->from->gguf != NULL && !p->options.target->is_gguf
           && strcmp(t->name, GK_ROPE_FACTORS) == 0
           && gk_rope_scaling(p->from->config, &type) != NULL && type != NULL
           && strcmp(type, "llama3") == 0;
}

static bool take_tensors(gk_plan *p, gk_err *err)
{
    for (uint64_t i = 0; i < p->from->n_tensors; i++) {
        const gk_tensor *t = &p->from->tensor[i];
        if (!is_said_in_config(p, t))
            p->item[p->n_items++].from = t;
        else if (!gk_findings_addf(&p->notes, "rope", GK_NOTE, NULL, t->name, err,
                                   "becomes \"rope_scaling\" of config.json, which gives these "
                                   "factors again"))
            return false;
    }
    return true;
}

/* What stays plain is cast when --dtype says so, unless a rule names it. */
static bool cast_plain(gk_plan *p, gk_plan_item *item, gk_err *err)
{
    const gk_scheme *plain = p->options.plain;
    const gk_tensor *t = item->from;

    if (plain == NULL || item->to.kind != GK_SCHEME_KEEP || item->why == GK_WHY_RULE
        || (t->scheme == NULL && t->dtype == plain->cast))
        return true;
    if (gk_can_decode(t))
        item->to = *plain;
    return gk_can_decode(t) || !gk_dtype_get((gk_dtype)t->dtype)->is_float
           || gk_findings_addf(&p->notes, "dtype", GK_WARN, NULL, t->name, err,
                               "stays %s: such values cannot be turned into %s",
                               gk_tensor_kind(t), plain->name);
}

/* The scheme as this target stores it, or why it cannot. */
static bool bind_scheme(const gk_plan *p, gk_plan_item *item, gk_err *err)
{
    const gk_target *target = p->options.target;
    gk_scheme *to = &item->to;
    const bool mix = to->kind == GK_SCHEME_MIX
                     || (to->kind == GK_SCHEME_CAST && gk_dtype_is_block(to->cast));

    if (mix && !target->is_gguf) {
        gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "%s is a type of GGUF files: use --to gguf", to->name);
        return gk_fail_at(err, NULL, item->from->name);
    }
    if (!gk_scheme_is_coded(to))
        return true;
    if (target->is_gguf && to->kind >= GK_SCHEME_NVFP4) {
        *to = gk_scheme_cast(to->kind == GK_SCHEME_NVFP4 ? GK_NVFP4 : GK_MXFP4);
        return true;
    }
    to->scales = target->scales;
    to->layout = target->layout == NULL ? NULL : target->layout(to);
    if (to->layout != NULL)
        return true;
    gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "%s: %s files hold %s; choose one of those, or %s",
            to->name, target->name, target->holds,
            target->is_gguf && to->kind == GK_SCHEME_FP8 ? "--to fp8" : "--to compressed-tensors");
    return gk_fail_at(err, NULL, item->from->name);
}

bool gk_keeps_values(const gk_target *target, const gk_tensor *t)
{
    return t->scheme != NULL || (gk_dtype_is_block((gk_dtype)t->dtype) && !target->is_gguf);
}

static bool keep_by_value(const gk_plan *p, const gk_plan_item *item)
{
    return item->to.kind == GK_SCHEME_KEEP && gk_keeps_values(p->options.target, item->from);
}

/* What is not kept must have values that can be read. */
static bool prove_decodes(const gk_plan *p, const gk_plan_item *item, gk_err *err)
{
    const gk_tensor *t = item->from;

    if (item->to.kind == GK_SCHEME_KEEP || gk_can_decode(t))
        return true;
    if (t->n_parts == 0 || (!p->options.target->is_gguf && !gk_has_codec((gk_dtype)t->dtype)))
        return gk_fail_decode(p->from, t, err);
    gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
            "%s values cannot be turned into %s%s; a rule 'REGEX=keep' leaves them",
            gk_tensor_kind(t), item->to.name,
            gk_has_codec((gk_dtype)t->dtype) ? "" : ", as there is no codec for them");
    return gk_fail_decode(p->from, t, err);
}

static bool say_rounded(gk_plan *p, gk_err *err)
{
    const char *first = NULL;
    uint64_t n = 0;

    for (uint64_t i = 0; i < p->n_items; i++) {
        const gk_tensor *t = p->item[i].from;
        if (p->item[i].to.kind == GK_SCHEME_KEEP || t->scheme != NULL || t->dtype != GK_F64)
            continue;
        first = n++ == 0 ? t->name : first;
    }
    if (n <= 1)
        return n == 0
               || gk_findings_addf(&p->notes, "dtype", GK_WARN, NULL, first, err,
                                   "its F64 values are rounded to f32 first");
    return gk_findings_addf(&p->notes, "dtype", GK_WARN, NULL, first, err,
                            "its F64 values are rounded to f32 first, as are those of %" PRIu64
                            " others", n - 1);
}

static bool choose_schemes(gk_plan *p, const gk_recipe *recipe, gk_err *err)
{
    gk_scheme keep;

    if (!gk_scheme_parse("keep", &keep, err))
        return false;
    for (uint64_t i = 0; i < p->n_items; i++) {
        gk_plan_item *item = &p->item[i];
        if (!gk_recipe_choose(recipe, item->from, &item->to, &item->why, err))
            return false;
        if (gk_rows(item->from) == 0 || gk_cols(item->from) == 0)
            item->to = keep;
        /* engines of safetensors build these without codes, llama.cpp has types for all */
        if (p->options.target->is_gguf
            && (item->why == GK_WHY_PROTECTED
                || (item->why == GK_WHY_NOT_MATRIX && item->from->ndim > 2
                    && gk_can_decode(item->from))))
            item->to = *gk_recipe_otherwise(recipe);
        if (!bind_scheme(p, item, err))
            return false;
        /* the angles of late positions need all digits of their factors */
        if (strcmp(item->from->name, GK_ROPE_FACTORS) == 0 && item->why != GK_WHY_RULE)
            item->to = keep;
        else if (!cast_plain(p, item, err))
            return false;
        if (keep_by_value(p, item))
            item->to = gk_scheme_cast(GK_F32);
        if (!prove_decodes(p, item, err))
            return false;
    }
    if (p->options.target->fit != NULL && !p->options.target->fit(p, err))
        return false;
    for (uint64_t i = 0; i < p->n_items; i++) { /* what fitting chose */
        if (keep_by_value(p, &p->item[i]))
            p->item[i].to = gk_scheme_cast(GK_F32);
        if (!prove_decodes(p, &p->item[i], err))
            return false;
    }
    return say_rounded(p, err) && gk_gguf_importance(p, err) && gk_plan_gains(p, err);
}

/* ---- stored tensors ---------------------------------------------------------- */

static gk_dtype stored_dtype(const gk_plan_item *item)
{
    return item->to.kind == GK_SCHEME_CAST ? item->to.cast : (gk_dtype)item->from->dtype;
}

static bool add_coded(gk_plan *p, gk_plan_item *item, gk_entry *e, gk_err *err)
{
    const char *name = item->from->name;
    const size_t len = strlen(name), tail = gk_ends_with(name, ".weight") ? 7 : 0;
    const uint64_t dim[2] = {gk_rows(item->from), gk_cols(item->from)};
    gk_layout_part part[GK_MAX_PARTS];

    item->n_entries = (uint8_t)item->to.layout->parts(&item->to, dim, part);
    for (int i = 0; i < item->n_entries; i++) {
        uint64_t *shape = gk_arena_alloc(p->arena, 2, sizeof *shape, err);
        e[i].name = gk_arena_printf(p->arena, err, "%.*s%s", (int)(len - tail), name,
                                    part[i].suffix);
        if (shape == NULL || e[i].name == NULL)
            return false;
        shape[0] = part[i].ndim == 1 ? part[i].n_cols : part[i].n_rows;
        shape[1] = part[i].n_cols;
        e[i].dim = shape;
        e[i].ndim = (uint8_t)part[i].ndim;
        e[i].dtype = (uint8_t)part[i].dtype;
        e[i].bytes = part[i].n_rows * gk_row_bytes(part[i].dtype, part[i].n_cols);
    }
    return true;
}

static bool add_entries(gk_plan *p, gk_plan_item *item, gk_err *err)
{
    gk_entry *e = &p->entry[p->n_entries];

    item->entry = e;
    if (gk_scheme_is_coded(&item->to)) {
        if (!add_coded(p, item, e, err))
            return false;
    } else {
        *e = (gk_entry){.name = item->from->name,
                        .dim = item->from->dim,
                        .ndim = item->from->ndim,
                        .dtype = (uint8_t)stored_dtype(item)};
        e->bytes = gk_rows(item->from) * gk_row_bytes(stored_dtype(item), gk_cols(item->from));
        item->n_entries = 1;
    }
    for (int i = 0; i < item->n_entries; i++) {
        e[i].module = (uint32_t)(item - p->item);
        item->bytes += e[i].bytes;
    }
    p->n_entries += item->n_entries;
    return true;
}

static bool add_all_entries(gk_plan *p, gk_err *err)
{
    for (uint64_t i = 0; i < p->n_items; i++)
        if (!add_entries(p, &p->item[i], err))
            return false;
    return true;
}

/* ---- tiles -------------------------------------------------------------------- */

static uint64_t round_down(uint64_t n, uint64_t quantum)
{
    return gk_max(n / quantum, 1) * quantum;
}

static uint64_t up64(uint64_t n)
{
    return gk_div_up(n, 64) * 64;
}

uint64_t gk_room_bytes(const gk_room *r)
{
    return 2 * up64(r->floats * 4) + up64(r->raw) + up64(r->packed) + up64(r->work) + 64;
}

/* Makes room for a tile of that item. */
static void widen(gk_room *r, const gk_plan_item *item)
{
    const gk_tensor *t = item->from;
    const uint64_t rows = item->tile_rows, cols = item->tile_cols;
    const uint64_t dim[2] = {gk_rows(t), gk_cols(t)};

    if (item->to.kind == GK_SCHEME_KEEP) {
        const uint64_t bytes = rows * gk_row_bytes((gk_dtype)t->dtype, cols);
        r->raw = gk_max(r->raw, bytes);
        r->floats = gk_max(r->floats, gk_div_up(bytes, 4)); /* verifying reads them twice */
        return;
    }
    r->floats = gk_max(r->floats, rows * cols);
    r->raw = gk_max(r->raw, gk_decode_scratch_bytes(t, rows, cols));
    if (item->to.kind == GK_SCHEME_CAST) {
        r->packed = gk_max(r->packed, rows * gk_row_bytes(item->to.cast, cols));
        r->raw = gk_max(r->raw, rows * gk_row_bytes(item->to.cast, cols));
        r->work = gk_max(r->work, rows * 2 * sizeof(double)); /* sums of the rows of blocks */
        return;
    }
    const gk_layout *l = item->to.layout;
    const gk_tile tile = {0, rows, 0, cols};
    uint64_t packed = 0, stored = 0, at_rows, at_cols;
    l->quantum(&item->to, &at_rows, &at_cols);
    const gk_tile larger = {0, rows + at_rows, 0, cols};
    for (int i = 0; i < item->n_entries; i++) {
        gk_tile span;
        l->span(&item->to, i, dim, &tile, &span);
        packed += up64(span.n_rows * gk_row_bytes((gk_dtype)item->entry[i].dtype, span.n_cols));
        l->span(&item->to, i, dim, &larger, &span);
        stored += up64(span.n_rows * gk_row_bytes((gk_dtype)item->entry[i].dtype, span.n_cols));
    }
    r->packed = gk_max(r->packed, packed);
    const uint64_t scratch = l->scratch_bytes(&item->to, rows, cols);
    r->work = gk_max(r->work,
                     item->phase == 0 ? scratch : up64(scratch) + gk_group_room_bytes(rows, cols));
    /* reading it back when verifying */
    r->raw = gk_max(r->raw, stored + up64(l->scratch_bytes(&item->to, rows, cols)));
}

static uint64_t common_multiple(uint64_t a, uint64_t b)
{
    uint64_t x = a, y = b;

    while (y != 0) {
        const uint64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}

/* Where tiles of an item may be cut; *cols 0: its rows are encoded or decoded whole. */
static void item_quantum(const gk_plan_item *item, uint64_t *rows, uint64_t *cols)
{
    const gk_scheme *from = item->from->scheme;
    uint64_t r = 1, c = gk_dtype_get((gk_dtype)item->from->dtype)->block_elems;

    *rows = 1;
    *cols = from != NULL ? 8 : common_multiple(c, 8);
    if (from != NULL)
        from->layout->quantum(from, &r, cols);
    if (gk_scheme_is_coded(&item->to)) {
        item->to.layout->quantum(&item->to, rows, &c);
        if (item->phase > 0) {
            *rows = common_multiple(*rows, GK_SOLVE_ROWS);
            c = 0;
        }
    } else if (item->to.kind == GK_SCHEME_CAST) {
        const gk_blocks *blocks = gk_blocks_of(item->to.cast);
        c = gk_dtype_get(item->to.cast)->block_elems;
        if (blocks != NULL && blocks->whole_row_with_importance && item->importance != NULL)
            c = 0;
    }
    *cols = *cols == 0 || c == 0 ? 0 : common_multiple(*cols, c);
}

/* Tiles of columns read at once from a tensor that lies transposed, or written to one that
 * will: neither side may fall to short strips. */
static bool is_turned(const gk_plan_item *item)
{
    gk_part_room room;

    return (gk_scheme_is_coded(&item->to) && item->to.layout->is_turned)
           || (item->from->n_parts > 0
               && gk_part_of(item->from, 0, &room)->piece[0].col_bytes != 0);
}

static void set_tiles(gk_plan *p, gk_plan_item *item, uint64_t elems)
{
    const uint64_t rows = gk_rows(item->from), cols = gk_cols(item->from);
    const bool turned = is_turned(item);
    uint64_t row_quantum, col_quantum;

    item_quantum(item, &row_quantum, &col_quantum);
    item->first_unit = p->n_units;
    item->n_units = 0;
    if (rows == 0 || cols == 0)
        return;
    /* the width of a column tile must not depend on memory: error sums run along it */
    const uint64_t wide = turned ? TURNED_COLS : gk_max(WIDE_ELEMS / row_quantum, 1);
    item->tile_cols = cols;
    if (cols > wide && col_quantum > 0)
        item->tile_cols = gk_min(cols, round_down(wide, col_quantum));
    if (turned)
        elems *= TURNED_TIMES;
    item->tile_rows = gk_min(rows, round_down(gk_max(elems / item->tile_cols, 1), row_quantum));
    if (p->options.tile_quanta > 0)
        item->tile_rows = gk_min(rows, p->options.tile_quanta * row_quantum);
    item->n_col_tiles = gk_div_up(cols, item->tile_cols);
    item->n_units = item->n_col_tiles * gk_div_up(rows, item->tile_rows);
    p->n_units += item->n_units;
    widen(&p->room, item);
}

static uint64_t catalog_bytes(const gk_plan *p)
{
    const gk_catalog *c = p->from;
    uint64_t headers = 0;

    for (uint64_t i = 0; i < p->shards.n; i++)
        headers += 3 * p->shards.shard[i].header_bytes;
    if (p->options.stats != NULL)
        headers += p->options.stats->bytes;
    return headers + p->gain_bytes + c->n_stored * 160 + c->n_tensors * (512 + sizeof(gk_plan_item))
           + p->n_entries * (sizeof(gk_entry) + 160);
}

static int by_place(const void *a, const void *b)
{
    const gk_plan_item *x = *(gk_plan_item *const *)a, *y = *(gk_plan_item *const *)b;

    if (x->entry->shard != y->entry->shard)
        return x->entry->shard < y->entry->shard ? -1 : 1;
    if (x->entry->off != y->entry->off)
        return x->entry->off < y->entry->off ? -1 : 1;
    if (x->row0 != y->row0) /* of one stack */
        return x->row0 < y->row0 ? -1 : 1;
    return x < y ? -1 : x > y; /* of no bytes */
}

/* Files are written from front to back: disks like it, and what reads behind finds it. */
static bool order_items(gk_plan *p, gk_err *err)
{
    p->by_unit = gk_arena_alloc(p->arena, p->n_items, sizeof(gk_plan_item *), err);
    if (p->by_unit == NULL)
        return false;
    for (uint64_t i = 0; i < p->n_items; i++)
        p->by_unit[i] = &p->item[i];
    if (p->n_items > 0)
        qsort(p->by_unit, (size_t)p->n_items, sizeof *p->by_unit, by_place);
    return true;
}

/* Tiles as large as memory allows, down to one row; the ceiling may be too low for
 * even that, which the plan's figure then says. */
static bool set_all_tiles(gk_plan *p, gk_err *err)
{
    /* the forward pass of GPTQ has a quarter, Hessians at most half unless they were asked for */
    const uint64_t solving = p->n_phases == 0 ? 0 : p->options.memory_bytes / 4 + p->hessian_bytes;
    const uint64_t fixed = PROCESS_BYTES + catalog_bytes(p) + solving;
    const uint64_t threads = (uint64_t)p->options.threads;

    for (uint64_t elems = TILE_ELEMS;; elems /= 2) {
        p->n_units = 0;
        p->room = (gk_room){0};
        for (uint64_t i = 0; i < p->n_items; i++)
            set_tiles(p, p->by_unit[i], elems);
        p->memory_bytes = fixed + threads * gk_room_bytes(&p->room);
        if (p->memory_bytes <= p->options.memory_bytes)
            return true;
        if (elems == 1)
            break;
    }
    return gk_fail(err, GK_ERR_NOMEM, GK_NO_OFF,
                   "the plan needs %" PRIu64 " MiB with %d threads, --memory allows %" PRIu64
                   " MiB",
                   (p->memory_bytes >> 20) + 1, p->options.threads, p->options.memory_bytes >> 20);
}

/* the last item that begins at or before it */
const gk_plan_item *gk_plan_item_of(const gk_plan *p, uint64_t unit)
{
    uint64_t low = 0, high = p->n_items;

    while (high - low > 1) {
        const uint64_t mid = (low + high) / 2;
        if (p->by_unit[mid]->first_unit <= unit)
            low = mid;
        else
            high = mid;
    }
    return p->by_unit[low];
}

gk_tile gk_plan_tile(const gk_plan_item *item, uint64_t k)
{
    const uint64_t row = k / item->n_col_tiles * item->tile_rows;
    const uint64_t col = k % item->n_col_tiles * item->tile_cols;

    return (gk_tile){.row = row,
                     .n_rows = gk_min(item->tile_rows, gk_rows(item->from) - row),
                     .col = col,
                     .n_cols = gk_min(item->tile_cols, gk_cols(item->from) - col)};
}

bool gk_plan_shape(const gk_plan_item *item, uint32_t i, int64_t shape[2])
{
    const uint64_t dim[2] = {gk_rows(item->from), gk_cols(item->from)};
    gk_layout_part part[GK_MAX_PARTS];

    if (!gk_scheme_is_coded(&item->to))
        return false;
    item->to.layout->parts(&item->to, dim, part);
    if (shape != NULL) {
        shape[0] = (int64_t)dim[0];
        shape[1] = (int64_t)dim[1];
    }
    return part[i].role == GK_PART_SHAPE && part[i].dtype == GK_I64;
}

bool gk_plan_is_bias(const gk_plan_item *item, const gk_entry *e)
{
    return item->heads > 0 && e->ndim < 2;
}

uint64_t gk_plan_stride(const gk_plan_item *item, const gk_entry *e)
{
    const bool single = e->ndim == 0 || gk_plan_is_bias(item, e);

    return gk_row_bytes((gk_dtype)e->dtype, single ? 1 : e->dim[e->ndim - 1]);
}

/* ---- small files --------------------------------------------------------------- */

static bool add_text(gk_plan *p, const char *name, const gk_text *t, gk_err *err)
{
    char *copy = gk_text_ok(t, err) ? gk_arena_strn(p->arena, t->data, t->len, err) : NULL;

    if (copy == NULL)
        return false;
    p->text[p->n_texts++] = (gk_plan_text){name, copy, t->len};
    return true;
}

/* The dtype that the values are in, when a cast changes it; NULL else. */
static const char *torch_dtype(const gk_plan *p)
{
    const gk_scheme *to = p->options.plain;

    for (uint64_t i = 0; to == NULL && i < p->n_items; i++)
        if (p->item[i].to.kind == GK_SCHEME_CAST && p->item[i].why == GK_WHY_DEFAULT)
            to = &p->item[i].to;
    if (to == NULL)
        return NULL;
    return to->cast == GK_BF16 ? "bfloat16" : to->cast == GK_F16 ? "float16" : "float32";
}

static bool make_config(gk_plan *p, gk_err *err)
{
    static const char *const drop[] = {
        "quantization_config",  "quantization",        "load_presharded_moe",
        "load_presharded_attn", "load_presharded_mlp", "load_presharded_embedding", "torch_dtype"};
    const char *dtype = torch_dtype(p);
    gk_text members = {.indent = 2}, out = {0};

    if (p->from->config_text == NULL || p->options.target->is_gguf)
        return true;
    gk_json_open(&members, NULL, '{');
    if (dtype != NULL)
        gk_json_string(&members, "torch_dtype", dtype);
    bool ok = gk_plan_config_members(p, &members, err);
    gk_json_close(&members, '}');
    ok = ok && gk_text_ok(&members, err);
    if (ok) {
        /* the members alone: without the braces and the last line break */
        members.data[members.len - 2] = '\0';
        ok = gk_json_splice(&out, p->from->config_text, p->from->config_len, drop,
                            dtype != NULL ? 7 : 6, members.data + 1, err)
             && add_text(p, "config.json", &out, err);
    }
    gk_text_free(&members);
    gk_text_free(&out);
    return ok;
}

static bool make_index(gk_plan *p, gk_err *err)
{
    gk_text out = {0};

    if (p->shards.n < 2 || p->options.target->is_gguf)
        return true;
    const bool ok = gk_shards_index(&p->shards, p->entry, p->n_entries, &out, err)
                    && add_text(p, GK_INDEX_NAME, &out, err);
    gk_text_free(&out);
    return ok;
}

/* A GGUF brings its tokens as keys: a directory gets them as the file that a release has.
 * What that file cannot say stays behind, with a word. */
static bool make_tokenizer(gk_plan *p, gk_err *err)
{
    gk_vocabulary v;
    gk_err own = {0};
    gk_text out = {0};

    if (p->from->gguf == NULL || p->options.target->is_gguf)
        return true;
    bool ok = gk_vocabulary_read(p->from, &v, &own);
    if (ok && v.n > 0)
        ok = gk_vocabulary_tok_json(&v, &out, &own)
             && add_text(p, "tokenizer.tok.json", &out, &own);
    gk_vocabulary_free(&v);
    gk_text_free(&out);
    if (ok)
        return true;
    if (own.code != GK_ERR_UNSUPPORTED)
        return *err = own, false;
    return gk_findings_addf(&p->notes, "tokenizer", GK_WARN, NULL, NULL, err,
                            "the tokenizer is left out: %s", own.msg);
}

/* ---- totals, and the name of the job -------------------------------------------- */

static void hash_text(gk_hash *h, const char *s)
{
    gk_hash_add(h, s, strlen(s) + 1);
}

static void hash_number(gk_hash *h, uint64_t n)
{
    gk_hash_add(h, &n, sizeof n);
}

static bool name_the_job(gk_plan *p, gk_err *err)
{
    const gk_catalog *c = p->from;
    gk_hash *h = gk_hash_new(err);

    if (h == NULL)
        return false;
    hash_text(h, "grokkit plan 1");
    hash_text(h, p->options.target->name);
    hash_text(h, gk_method_name(p->options.method));
    for (uint64_t i = 0; i < c->n_inputs; i++) {
        hash_text(h, c->input[i].name);
        hash_number(h, c->input[i].file->size);
    }
    for (uint64_t i = 0; i < c->n_stored; i++) {
        hash_text(h, c->stored[i].name);
        hash_number(h, c->stored[i].off);
    }
    for (uint64_t i = 0; i < p->n_items; i++)
        hash_text(h, p->item[i].to.name);
    if (p->options.stats != NULL)
        hash_text(h, p->options.stats->sha256);
    if (p->gain_bytes > 0)
        hash_text(h, "gains 1");
    if (p->n_phases > 0)
        hash_number(h, 2 * p->hessian_block + p->paired);
    for (uint64_t i = 0; i < p->shards.n; i++) {
        hash_text(h, p->shards.shard[i].name);
        gk_hash_add(h, p->shards.shard[i].header, p->shards.shard[i].header_bytes);
    }
    for (int i = 0; i < p->n_texts; i++)
        gk_hash_add(h, p->text[i].data, p->text[i].bytes);
    if (p->made.entry != NULL)
        gk_hash_add(h, p->made.data, p->made.entry->bytes);
    gk_hash_end(h, p->sha256);
    memcpy(p->tag, p->sha256, sizeof p->tag - 1);
    return true;
}

uint64_t gk_plan_extras(const gk_plan *p)
{
    return p->options.target->is_gguf ? 0 : p->from->n_extras;
}

uint64_t gk_plan_n_files(const gk_plan *p)
{
    return p->shards.n + (uint64_t)p->n_texts + gk_plan_extras(p) + (p->provenance_bytes > 0);
}

const char *gk_plan_file(const gk_plan *p, uint64_t i, uint64_t *bytes)
{
    const uint64_t n_texts = (uint64_t)p->n_texts;

    if (i < p->shards.n) {
        *bytes = p->shards.shard[i].bytes;
        return p->shards.shard[i].name;
    }
    i -= p->shards.n;
    if (i < n_texts) {
        *bytes = p->text[i].bytes;
        return p->text[i].name;
    }
    i -= n_texts;
    if (i < gk_plan_extras(p)) {
        *bytes = p->from->extra[i].bytes;
        return p->from->extra[i].name;
    }
    *bytes = p->provenance_bytes;
    return GK_PROVENANCE;
}

static bool add_up(gk_plan *p, gk_err *err)
{
    for (uint64_t i = 0; i < p->n_items; i++) {
        p->parameters += gk_rows(p->item[i].from) * gk_cols(p->item[i].from);
        p->input_bytes += gk_tensor_bytes(p->item[i].from);
    }
    if (p->parameters > 0)
        p->bits_per_weight = (double)p->shards.tensor_bytes * 8 / (double)p->parameters;
    if (!name_the_job(p, err)
        || (!p->options.target->is_gguf && !gk_provenance_size(p, &p->provenance_bytes, err)))
        return false;
    for (uint64_t i = 0; i < gk_plan_n_files(p); i++) {
        uint64_t bytes;
        gk_plan_file(p, i, &bytes);
        p->output_bytes += bytes;
    }
    return true;
}

/* Codes were asked for and no tensor gets any: its width suits no group, say. A GGUF has a type
 * for every width. */
static bool say_idle_scheme(gk_plan *p, const gk_recipe *recipe, gk_err *err)
{
    const gk_scheme *asked = gk_recipe_otherwise(recipe);

    if (p->options.target->is_gguf
        || (!gk_scheme_is_coded(asked) && asked->kind != GK_SCHEME_MIX))
        return true;
    for (uint64_t i = 0; i < p->n_items; i++)
        if (gk_scheme_is_coded(&p->item[i].to))
            return true;
    return gk_findings_addf(&p->notes, "scheme", GK_WARN, NULL, NULL, err,
                            "no tensor becomes %s: nothing is quantized; a scheme of a smaller "
                            "group may fit",
                            asked->name);
}

static bool build(gk_plan *p, const gk_recipe *recipe, gk_err *err)
{
    const gk_catalog *c = p->from;
    const uint64_t max = p->options.max_shard_bytes;
    gk_text text = {0};

    p->item = gk_arena_alloc(p->arena, c->n_tensors, sizeof *p->item, err);
    p->entry = gk_arena_alloc(p->arena, c->n_tensors * GK_MAX_PARTS, sizeof *p->entry, err);
    bool ok = p->item != NULL && p->entry != NULL && take_tensors(p, err)
              && choose_schemes(p, recipe, err);
    ok = ok && (p->options.target->is_gguf ? gk_gguf_entries(p, err) : add_all_entries(p, err))
         && gk_recipe_idle(recipe, &p->notes, err) && say_idle_scheme(p, recipe, err);
    gk_recipe_print(recipe, &text);
    ok = ok && gk_text_ok(&text, err)
         && (p->recipe = gk_arena_str(p->arena, text.data, err)) != NULL
         && (p->options.target->is_gguf
                 ? gk_gguf_shards(p, err)
                 : gk_shards_layout(p->arena, p->entry, p->n_entries,
                                    max > 0 ? max : DEFAULT_SHARD_BYTES, &p->shards, err))
         && gk_plan_phases(p, err) && order_items(p, err) && set_all_tiles(p, err)
         && make_config(p, err) && make_index(p, err) && make_tokenizer(p, err) && add_up(p, err)
         && gk_plan_prove(p, err);
    gk_text_free(&text);
    return ok;
}

gk_plan *gk_plan_new(const gk_catalog *from, const gk_recipe *recipe,
                     const gk_plan_options *options, gk_err *err)
{
    gk_plan *p = gk_alloc(1, sizeof *p, err);

    if (p == NULL)
        return NULL;
    *p = (gk_plan){.from = from, .options = *options, .mix = -1, .arena = gk_arena_new(err)};
    p->notes.arena = p->arena;
    if (p->arena != NULL && build(p, recipe, err))
        return p;
    gk_plan_free(p);
    return NULL;
}

void gk_plan_free(gk_plan *p)
{
    if (p == NULL)
        return;
    gk_findings_free(&p->notes);
    gk_arena_free(p->arena);
    gk_free(p);
}
