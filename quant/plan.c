/* quant/plan.c - from catalog and recipe to byte ranges. */
#include "quant/plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/layout.h"
#include "quant/model.h"
#include "quant/targets.h"

#define DEFAULT_SHARD_BYTES UINT64_C(5000000000)
#define TILE_ELEMS          (UINT64_C(1) << 16) /* of a tile: in a second-level cache    */
#define WIDE_ELEMS          (UINT64_C(1) << 20) /* rows beyond this are cut by columns    */
#define PROCESS_BYTES       (UINT64_C(40) << 20) /* program, libraries, stacks            */

static const char *const target_names[GK_N_TARGETS] = {"hf", "compressed-tensors"};

bool gk_target_find(const char *name, gk_target *out, gk_err *err)
{
    for (int i = 0; i < GK_N_TARGETS; i++)
        if (strcmp(name, target_names[i]) == 0) {
            *out = (gk_target)i;
            return true;
        }
    return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "unknown format '%.40s'; known: hf "
                   "compressed-tensors", name);
}

const char *gk_target_name(gk_target target)
{
    return target_names[target];
}

/* ---- what each tensor becomes ----------------------------------------------- */

/* What stays plain is cast when --dtype says so, unless a rule names it. */
static void cast_plain(const gk_plan *p, gk_plan_item *item)
{
    const gk_scheme *plain = p->options.plain;

    if (plain != NULL && item->to.kind == GK_SCHEME_KEEP && item->why != GK_WHY_RULE
        && gk_can_decode(item->from)
        && (item->from->scheme != NULL || item->from->dtype != plain->cast))
        item->to = *plain;
}

static bool choose_schemes(gk_plan *p, const gk_recipe *recipe, gk_err *err)
{
    for (uint64_t i = 0; i < p->n_items; i++) {
        gk_plan_item *item = &p->item[i];
        item->from = &p->from->tensor[i];
        if (!gk_recipe_choose(recipe, item->from, &item->to, &item->why, err))
            return false;
        if (gk_rows(item->from) == 0 || gk_cols(item->from) == 0)
            if (!gk_scheme_parse("keep", &item->to, err))
                return false;
        if (item->to.kind == GK_SCHEME_INT && p->options.target == GK_TARGET_HF) {
            gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "%s: hf files hold plain values; use "
                    "--to compressed-tensors", item->to.name);
            return gk_fail_at(err, NULL, item->from->name);
        }
        cast_plain(p, item);
        /* what is stored in codes is kept by value */
        if (item->to.kind == GK_SCHEME_KEEP && item->from->scheme != NULL
            && !gk_scheme_parse("f32", &item->to, err))
            return false;
        if (item->to.kind != GK_SCHEME_KEEP && !gk_can_decode(item->from)) {
            gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF, "%s values cannot be turned into %s",
                    gk_tensor_kind(item->from), item->to.name);
            return gk_fail_at(err, NULL, item->from->name);
        }
    }
    return p->options.target != GK_TARGET_COMPRESSED_TENSORS || gk_plan_fuse(p, err);
}

/* ---- stored tensors ---------------------------------------------------------- */

static gk_dtype stored_dtype(const gk_plan_item *item)
{
    return item->to.kind == GK_SCHEME_CAST ? item->to.cast : (gk_dtype)item->from->dtype;
}

static bool add_entries(gk_plan *p, gk_plan_item *item, gk_err *err)
{
    gk_entry *e = &p->entry[p->n_entries];

    item->entry = e;
    if (item->to.kind == GK_SCHEME_INT) {
        item->n_entries = (uint8_t)gk_ct_entries(item->from, &item->to, e, p->arena, err);
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
    return item->n_entries > 0;
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
    return 9 * up64(r->floats) + up64(r->raw) + up64(r->packed) + 7 * up64(r->groups) + 64;
}

/* Makes room for a tile of that item. */
static void widen(gk_room *r, const gk_plan_item *item)
{
    const uint64_t rows = item->tile_rows, cols = item->tile_cols;

    if (item->to.kind == GK_SCHEME_KEEP) {
        const uint64_t bytes = rows * gk_row_bytes((gk_dtype)item->from->dtype, cols);
        r->raw = gk_max(r->raw, bytes);
        r->floats = gk_max(r->floats, gk_div_up(bytes, 4)); /* verifying reads them twice */
        return;
    }
    r->floats = gk_max(r->floats, rows * cols);
    r->raw = gk_max(r->raw,
                    gk_max(gk_decode_scratch_bytes(item->from, rows, cols), rows * cols * 4));
    if (item->to.kind != GK_SCHEME_INT)
        return;
    const uint64_t groups = rows * gk_scheme_groups(&item->to, cols);
    r->groups = gk_max(r->groups, groups);
    r->packed = gk_max(r->packed, gk_max(rows * gk_ct_packed_row_bytes(&item->to, cols),
                                         groups * 4 + 64));
    /* reading codes back needs more than reading plain values */
    r->raw = gk_max(r->raw, rows * cols + groups * 16
                                + rows * gk_ct_packed_row_bytes(&item->to, cols) + 1024);
}

static void set_tiles(gk_plan *p, gk_plan_item *item, uint64_t elems)
{
    const uint64_t rows = gk_rows(item->from), cols = gk_cols(item->from);
    const bool is_int = item->to.kind == GK_SCHEME_INT;
    const uint64_t row_quantum = is_int ? gk_ct_row_quantum(&item->to) : 1;

    item->first_unit = p->n_units;
    item->n_units = 0;
    if (rows == 0 || cols == 0)
        return;
    item->tile_cols = cols;
    if (cols > WIDE_ELEMS && !(is_int && item->to.group == 0)
        && !(item->from->scheme != NULL && item->from->scheme->group == 0)) {
        /* the width of a column tile must not depend on memory: error sums run along it */
        uint64_t quantum = is_int ? item->to.group : 8;
        if (item->from->scheme != NULL)
            quantum *= item->from->scheme->group;
        item->tile_cols = gk_min(cols, round_down(WIDE_ELEMS, quantum));
    }
    item->tile_rows = gk_min(rows, round_down(gk_max(elems / item->tile_cols, 1), row_quantum));
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
    return headers + c->n_stored * 160 + c->n_tensors * (512 + sizeof(gk_plan_item))
           + p->n_entries * (sizeof(gk_entry) + 160);
}

/* Tiles as large as memory allows, down to one row; the ceiling may be too low for
 * even that, which the plan's figure then says. */
static bool set_all_tiles(gk_plan *p, gk_err *err)
{
    const uint64_t fixed = PROCESS_BYTES + catalog_bytes(p);
    const uint64_t threads = (uint64_t)p->options.threads;

    for (uint64_t elems = TILE_ELEMS;; elems /= 2) {
        p->n_units = 0;
        p->room = (gk_room){0};
        for (uint64_t i = 0; i < p->n_items; i++)
            set_tiles(p, &p->item[i], elems);
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

gk_tile gk_plan_tile(const gk_plan_item *item, uint64_t k)
{
    const uint64_t row = k / item->n_col_tiles * item->tile_rows;
    const uint64_t col = k % item->n_col_tiles * item->tile_cols;

    return (gk_tile){.row = row,
                     .n_rows = gk_min(item->tile_rows, gk_rows(item->from) - row),
                     .col = col,
                     .n_cols = gk_min(item->tile_cols, gk_cols(item->from) - col)};
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
    static const char *const drop[] = {"quantization_config",   "load_presharded_moe",
                                       "load_presharded_attn",  "load_presharded_mlp",
                                       "load_presharded_embedding", "torch_dtype"};
    const char *dtype = torch_dtype(p);
    gk_text members = {.indent = 2}, out = {0};

    if (p->from->config_text == NULL)
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
                            dtype != NULL ? 6 : 5, members.data + 1, err)
             && add_text(p, "config.json", &out, err);
    }
    gk_text_free(&members);
    gk_text_free(&out);
    return ok;
}

static bool make_index(gk_plan *p, gk_err *err)
{
    gk_text out = {0};

    if (p->shards.n < 2)
        return true;
    const bool ok = gk_shards_index(&p->shards, p->entry, p->n_entries, &out, err)
                    && add_text(p, GK_INDEX_NAME, &out, err);
    gk_text_free(&out);
    return ok;
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
    hash_text(h, gk_target_name(p->options.target));
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
    for (uint64_t i = 0; i < p->shards.n; i++) {
        hash_text(h, p->shards.shard[i].name);
        gk_hash_add(h, p->shards.shard[i].header, p->shards.shard[i].header_bytes);
    }
    for (int i = 0; i < p->n_texts; i++)
        gk_hash_add(h, p->text[i].data, p->text[i].bytes);
    gk_hash_end(h, p->sha256);
    return true;
}

static bool add_up(gk_plan *p, gk_err *err)
{
    for (uint64_t i = 0; i < p->n_items; i++) {
        p->parameters += gk_rows(p->item[i].from) * gk_cols(p->item[i].from);
        p->input_bytes += gk_tensor_bytes(p->item[i].from);
    }
    for (uint64_t i = 0; i < p->shards.n; i++)
        p->output_bytes += p->shards.shard[i].bytes;
    for (int i = 0; i < p->n_texts; i++)
        p->output_bytes += p->text[i].bytes;
    for (uint64_t i = 0; i < p->from->n_extras; i++)
        p->output_bytes += p->from->extra[i].bytes;
    if (p->parameters > 0)
        p->bits_per_weight = (double)p->shards.tensor_bytes * 8 / (double)p->parameters;
    return name_the_job(p, err);
}

static bool build(gk_plan *p, const gk_recipe *recipe, gk_err *err)
{
    const gk_catalog *c = p->from;
    const uint64_t max = p->options.max_shard_bytes;
    gk_text text = {0};

    p->n_items = c->n_tensors;
    p->item = gk_arena_alloc(p->arena, p->n_items, sizeof *p->item, err);
    p->entry = gk_arena_alloc(p->arena, p->n_items * GK_MAX_PARTS, sizeof *p->entry, err);
    bool ok = p->item != NULL && p->entry != NULL && choose_schemes(p, recipe, err);
    for (uint64_t i = 0; ok && i < p->n_items; i++)
        ok = add_entries(p, &p->item[i], err);
    ok = ok && gk_recipe_idle(recipe, &p->notes, err);
    gk_recipe_print(recipe, &text);
    ok = ok && gk_text_ok(&text, err)
         && (p->recipe = gk_arena_str(p->arena, text.data, err)) != NULL
         && gk_shards_layout(p->arena, p->entry, p->n_entries, max > 0 ? max : DEFAULT_SHARD_BYTES,
                             &p->shards, err)
         && set_all_tiles(p, err) && make_config(p, err) && make_index(p, err) && add_up(p, err)
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
    *p = (gk_plan){.from = from, .options = *options, .arena = gk_arena_new(err)};
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

/* ---- proof ----------------------------------------------------------------------- */

static bool broken(gk_err *err, const char *what, const char *name)
{
    gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "the plan contradicts itself: %s", what);
    return gk_fail_at(err, NULL, name);
}

/* Walks the tiles in order: each begins where the one before ended. */
static bool prove_tiles(const gk_plan_item *item, gk_err *err)
{
    const gk_tensor *t = item->from;
    uint64_t row = 0, col = 0;

    for (uint64_t k = 0; k < item->n_units; k++) {
        const gk_tile tile = gk_plan_tile(item, k);
        if (tile.row != row || tile.col != col || tile.n_rows == 0 || tile.n_cols == 0)
            return broken(err, "tiles do not touch", t->name);
        if (item->to.kind == GK_SCHEME_INT && tile.row % gk_ct_row_quantum(&item->to) != 0)
            return broken(err, "a tile cuts a packed word", t->name);
        col += tile.n_cols;
        if (col == gk_cols(t)) {
            col = 0;
            row += tile.n_rows;
        }
    }
    return (row == gk_rows(t) && col == 0) || gk_rows(t) == 0 || gk_cols(t) == 0
           || broken(err, "tiles do not fill the tensor", t->name);
}

static int by_place(const void *a, const void *b, void *entries)
{
    const gk_entry *e = entries;
    const gk_entry *x = &e[*(const uint64_t *)a], *y = &e[*(const uint64_t *)b];

    if (x->shard != y->shard)
        return x->shard < y->shard ? -1 : 1;
    if (x->off != y->off)
        return x->off < y->off ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Entries in the order of their place: each begins where the one before ended, the
 * first behind the header, the last at the end of the file. */
static bool prove_files(const gk_plan *p, gk_err *err)
{
    uint64_t *order = gk_alloc(p->n_entries, sizeof *order, err);
    uint64_t i = 0;
    bool ok = order != NULL;

    for (uint64_t k = 0; ok && k < p->n_entries; k++)
        order[k] = k;
    if (ok)
        qsort_r(order, (size_t)p->n_entries, sizeof *order, by_place, p->entry);
    for (uint64_t s = 0; ok && s < p->shards.n; s++) {
        uint64_t at = p->shards.shard[s].header_bytes;
        for (; ok && i < p->n_entries && p->entry[order[i]].shard == s; i++) {
            ok = p->entry[order[i]].off == at
                 || broken(err, "stored tensors do not touch", p->entry[order[i]].name);
            at += p->entry[order[i]].bytes;
        }
        ok = ok && (at == p->shards.shard[s].bytes
                    || broken(err, "tensors do not fill their file", p->shards.shard[s].name));
    }
    gk_free(order);
    return ok && (i == p->n_entries || broken(err, "a stored tensor is in no file", NULL));
}

bool gk_plan_prove(const gk_plan *p, gk_err *err)
{
    uint64_t unit = 0;

    for (uint64_t i = 0; i < p->n_items; i++) {
        if (p->item[i].first_unit != unit)
            return broken(err, "units do not follow each other", p->item[i].from->name);
        unit += p->item[i].n_units;
        if (!prove_tiles(&p->item[i], err))
            return false;
    }
    return prove_files(p, err);
}
