/* tests/test_targets.c - whole models as FP8, FP4, GPTQ, AWQ and MLX: any threads and
 * memory, read back in any pieces, fitted, described in config.json, refused. */
#include "tests/written.h"

#include "formats/checked.h"

#define WORK "build/tmp/test_targets"
#define OUT  WORK "/out"
#define ODD  "build/models/odd"

typedef struct choice {
    const char *target, *scheme;
} choice;

static const choice choices[] = {{"fp8", "fp8-channel"},
                                 {"fp8", "fp8-block"},
                                 {"compressed-tensors", "nvfp4"},
                                 {"compressed-tensors", "mxfp4"},
                                 {"gptq", "int4-g32"},
                                 {"gptq", "int8-channel"},
                                 {"gptq", "int4-g64-asym"},
                                 {"awq", "int4-g64-asym"},
                                 {"awq", "int4-channel"},
                                 {"mlx", "int4-g64"},
                                 {"mlx", "int8-g32"}};

#define N_CHOICES (sizeof choices / sizeof choices[0])

static gk_plan_options options_for(const char *target)
{
    gk_err err = {0};
    gk_plan_options o = plain_options();
    o.target = gk_target_find(target, &err);
    assert_ok(o.target != NULL, err);
    return o;
}

static char *rules_of(const char *scheme)
{
    char *rules = malloc(100);
    assert_non_null(rules);
    snprintf(rules, 100, "default = %s", scheme);
    return rules;
}

/* ---- one input, one output ------------------------------------------------------------- */

static uint64_t least_memory(const gk_catalog *c, const char *rules, gk_plan_options o)
{
    uint64_t low = 0, high = MANY;
    while (high - low > 4096) {
        gk_err err = {0};
        o.memory_bytes = (low + high) / 2;
        gk_plan *p = try_plan(c, rules, &o, &err);
        if (p != NULL)
            high = o.memory_bytes;
        else
            low = o.memory_bytes;
        gk_plan_free(p);
    }
    return high;
}

static void threads_and_memory_do_not_show(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CHOICES; i++) {
        char *rules = rules_of(choices[i].scheme);
        gk_plan_options o = options_for(choices[i].target);
        gk_catalog *c = open_whole(ODD);
        for (size_t t = 0; t < 3; t++) {
            o.threads = t == 0 ? 1 : t == 1 ? 7 : 2;
            if (t == 2)
                o.memory_bytes = least_memory(c, rules, o);
            write_model(ODD, rules, &o, t == 0 ? WORK "/first" : OUT); /* and verified */
            if (t > 0)
                assert_same_dirs(WORK "/first", OUT);
        }
        entry *e = calloc(4000, sizeof *e);
        assert_non_null(e);
        check_file(OUT, "model.safetensors", e);
        free(e);
        gk_catalog_close(c);
        free(rules);
    }
}

/* ---- reading ----------------------------------------------------------------------------- */

static void read_rect(const gk_catalog *c, const gk_tensor *t, const uint64_t rect[4], float *out)
{
    gk_err err = {0};
    void *scratch = malloc(gk_decode_scratch_bytes(t, rect[1], rect[3]) + 1);
    assert_non_null(scratch);
    assert_ok(gk_decode(c, t, rect, out, scratch, &err), err);
    free(scratch);
}

/* Rows from anywhere, columns where the layout lets them be cut, with just the scratch that
 * was asked for. */
static void expect_pieces(const gk_catalog *c, const gk_tensor *t)
{
    const uint64_t rows = gk_rows(t), cols = gk_cols(t), all[4] = {0, rows, 0, cols};
    float *whole = malloc(rows * cols * sizeof *whole),
          *piece = malloc(rows * cols * sizeof *piece);
    uint64_t at_rows, at_cols;
    uint32_t seed = 9;
    assert_true(whole != NULL && piece != NULL);
    read_rect(c, t, all, whole);
    t->scheme->layout->quantum(t->scheme, &at_rows, &at_cols);
    for (int i = 0; i < 40; i++) {
        uint64_t rect[4] = {0, 0, 0, cols};
        seed = seed * 1664525u + 1013904223u;
        rect[0] = (seed >> 8) % rows;
        rect[1] = 1 + (seed >> 16) % gk_min(rows - rect[0], 40);
        if (at_cols > 0 && at_cols < cols) {
            rect[2] = (seed >> 4) % gk_div_up(cols, at_cols) * at_cols;
            rect[3] = i % 2 == 0 ? cols - rect[2] : gk_min(at_cols, cols - rect[2]);
        }
        read_rect(c, t, rect, piece);
        for (uint64_t r = 0; r < rect[1]; r++)
            assert_memory_equal(piece + r * rect[3], whole + (rect[0] + r) * cols + rect[2],
                                rect[3] * sizeof *piece);
    }
    free(whole);
    free(piece);
}

static void any_piece_is_a_piece_of_the_whole(void **state)
{
    (void)state;
    static const char *const names[] = {"model.layers.1.block_sparse_moe.experts.2.w2.weight",
                                        "model.layers.2.self_attn.k_proj.weight",
                                        "model.layers.0.mlp.down_proj.weight"};
    for (size_t i = 0; i < N_CHOICES; i++) {
        char *rules = rules_of(choices[i].scheme);
        const gk_plan_options o = options_for(choices[i].target);
        write_model(ODD, rules, &o, OUT);
        gk_catalog *c = open_whole(OUT);
        for (size_t k = 0; k < 3; k++) {
            const gk_tensor *t = gk_catalog_find(c, names[k]);
            assert_true(t != NULL && t->scheme != NULL);
            expect_pieces(c, t);
        }
        gk_catalog_close(c);
        free(rules);
    }
}

/* What is read is written again, as plain values and in other codes. */
static void codes_are_an_input_like_any_other(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CHOICES; i++) {
        char *rules = rules_of(choices[i].scheme);
        const gk_plan_options o = options_for(choices[i].target), plain = plain_options();
        const gk_plan_options ints = int_options();
        write_model("build/models/ranks4", rules, &o, WORK "/codes");
        write_model(WORK "/codes", "default = keep", &plain, OUT);
        gk_catalog *a = open_whole(WORK "/codes"), *b = open_whole(OUT);
        const char *name = "model.layers.1.mlp.up_proj.weight";
        const gk_tensor *x = gk_catalog_find(a, name), *y = gk_catalog_find(b, name);
        const uint64_t rows = gk_rows(x), cols = gk_cols(x), all[4] = {0, rows, 0, cols};
        float *v = malloc(2 * rows * cols * sizeof *v);
        assert_true(v != NULL && y->scheme == NULL && y->dtype == GK_F32);
        assert_null(gk_json_get(b->config, "quantization_config"));
        assert_null(gk_json_get(b->config, "quantization"));
        read_rect(a, x, all, v);
        read_rect(b, y, all, v + rows * cols);
        assert_memory_equal(v, v + rows * cols, rows * cols * sizeof *v);
        free(v);
        gk_catalog_close(a);
        gk_catalog_close(b);
        write_model(WORK "/codes", "default = int8-g32", &ints, OUT);
        free(rules);
    }
}

/* Tiles cut rows that are long, and columns of what lies transposed: together they are the
 * matrix encoded at once. */
static void tiles_of_a_wide_matrix_do_not_show(void **state)
{
    (void)state;
    static const struct {
        choice ch;
        uint64_t rows, cols;
    } all[] = {{{"gptq", "int4-g64"}, 96, 4160},           {{"gptq", "int8-g32-asym"}, 64, 1056},
               {{"gptq", "int4-channel"}, 32, 2080},       {{"awq", "int4-g32-asym"}, 72, 4128},
               {{"awq", "int4-channel-asym"}, 8, 1100},    {{"fp8", "fp8-block"}, 200, 8576},
               {{"fp8", "fp8-channel"}, 3, 70000},         {{"mlx", "int4-g32"}, 5, 70016},
               {{"compressed-tensors", "nvfp4"}, 5, 70000}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        char *rules = rules_of(all[i].ch.scheme);
        gk_plan_options o = options_for(all[i].ch.target);
        const uint64_t rows = all[i].rows, cols = all[i].cols, n = rows * cols;
        fresh_dir(WORK "/model");
        write_matrix(WORK "/model/model.safetensors", rows, cols);
        write_text(WORK "/model/config.json", "{}");
        gk_catalog *from = open_whole(WORK "/model");
        for (int tight = 0; tight < 2; tight++) {
            if (tight)
                o.memory_bytes = least_memory(from, rules, o);
            write_model(WORK "/model", rules, &o, OUT);
            gk_catalog *to = open_whole(OUT);
            const gk_tensor *t = gk_catalog_find(to, "wide.weight");
            assert_true(t != NULL && t->scheme != NULL);
            gk_err err = {0};
            gk_coding job = {.scheme = t->scheme,
                             .method = o.method,
                             .dim = {rows, cols},
                             .tile = {0, rows, 0, cols},
                             .err = &err};
            job.w = malloc(n * sizeof(float));
            job.v = malloc(n * sizeof(float));
            job.scratch = malloc(t->scheme->layout->scratch_bytes(t->scheme, rows, cols) + 1);
            read_rect(from, &from->tensor[0], (const uint64_t[4]){0, rows, 0, cols}, job.w);
            for (uint64_t k = 0; k < n; k++)
                job.most = job.w[k] > job.most    ? job.w[k]
                           : -job.w[k] > job.most ? -job.w[k]
                                                  : job.most;
            uint64_t bytes[GK_MAX_PARTS];
            for (int k = 0; k < t->n_parts; k++) {
                const gk_part *p = &t->part[k];
                bytes[k] = p->n_rows * gk_row_bytes(p->dtype, p->n_cols);
                job.part[k] = malloc(bytes[k]);
                job.dtype[k] = p->dtype;
            }
            t->scheme->layout->encode(&job);
            for (int k = 0; k < t->n_parts; k++) {
                const gk_part *p = &t->part[k];
                unsigned char *stored = malloc(bytes[k]);
                assert_ok(gk_read_part(to, t, k, 0, p->n_rows, 0, p->n_cols, stored, &err), err);
                assert_memory_equal(stored, job.part[k], bytes[k]);
                free(stored);
                free(job.part[k]);
            }
            free(job.w);
            free(job.v);
            free(job.scratch);
            gk_catalog_close(to);
        }
        gk_catalog_close(from);
        free(rules);
    }
}

/* ---- made by others ------------------------------------------------------------------- */

/* A file of tensors given as header text and data. */
static void write_file(const char *entries, const void *data, size_t n)
{
    char header[1024];
    const int length = snprintf(header, sizeof header, "{%s}", entries);
    unsigned char *file = malloc(8 + (size_t)length + n);
    const uint64_t len = (uint64_t)length;
    assert_non_null(file);
    memcpy(file, &len, 8);
    memcpy(file + 8, header, (size_t)length);
    memcpy(file + 8 + length, data, n);
    fresh_dir(WORK "/model");
    write_bytes(WORK "/model/model.safetensors", file, 8 + (size_t)length + n);
    free(file);
}

/* E4M3 1, 1.5, -2, 448 in two rows, under either name and with every scale that is read */
static void fp8_of_other_makers_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *name, *dtype, *shape, *kind;
        uint32_t scale[2];
        size_t n;
        float by[2];
    } all[] = {
        {"weight_scale", "F32", "[2,1]", "fp8-channel", {0x3F000000, 0x40000000}, 8, {0.5f, 2}},
        {"weight_scale", "BF16", "[2,1]", "fp8-channel", {0x40003F00}, 4, {0.5f, 2}},
        {"weight_scale", "F16", "[2,1]", "fp8-channel", {0x40003800}, 4, {0.5f, 2}},
        {"weight_scale", "F32", "[1]", "fp8-tensor", {0x40000000}, 4, {2, 2}},
        {"weight_scale", "F32", "[]", "fp8-tensor", {0x40000000}, 4, {2, 2}},
        {"weight_scale_inv", "F32", "[1,1]", "fp8-block", {0x3F000000}, 4, {0.5f, 0.5f}},
        {"weight_scale_inv", "BF16", "[2,1]", "fp8-channel", {0x40003F00}, 4, {0.5f, 2}}};
    static const float value[4] = {1, 1.5f, -2, 448};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        unsigned char data[12] = {0x38, 0x3C, 0xC0, 0x7E};
        float got[4];
        memcpy(data + 4, all[i].scale, all[i].n);
        write_file(path_of("\"a.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[2,2],\"data_offsets\":"
                           "[0,4]},\"a.%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":"
                           "[4,%zu]}",
                           all[i].name, all[i].dtype, all[i].shape, 4 + all[i].n),
                   data, 4 + all[i].n);
        gk_catalog *c = open_whole(WORK "/model");
        assert_int_equal(c->n_tensors, 1);
        assert_string_equal(gk_tensor_kind(&c->tensor[0]), all[i].kind);
        for (uint64_t r = 0; r < 2; r++) {
            read_rect(c, &c->tensor[0], (const uint64_t[4]){r, 1, 0, 2}, got + 2 * r);
            for (uint64_t k = 2 * r; k < 2 * r + 2; k++)
                assert_true(got[k] == value[k] * all[i].by[r]);
        }
        gk_catalog_close(c);
    }
}

/* The scale of a module's inputs goes with the codes of its weights. */
static void scales_of_inputs_are_no_tensors(void **state)
{
    static const unsigned char data[12] = {0x38, 0x3C, 0, 0, 0, 0x3F, 0, 0, 0, 0x40, 0, 0};
    float got[2];

    (void)state;
    write_file("\"a.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[1,2],\"data_offsets\":[0,2]},"
               "\"a.weight_scale\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]},"
               "\"a.input_scale\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[6,10]},"
               "\"input_scale\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[10,12]}",
               data, 12);
    gk_catalog *c = open_whole(WORK "/model");
    assert_int_equal(c->n_tensors, 2);
    assert_non_null(gk_catalog_find(c, "input_scale")); /* of nothing */
    read_rect(c, gk_catalog_find(c, "a.weight"), (const uint64_t[4]){0, 1, 0, 2}, got);
    assert_true(got[0] == 0.5f && got[1] == 0.75f);
    gk_catalog_close(c);
}

static void parts_that_do_not_fit_are_findings(void **state)
{
    (void)state;
    static const struct {
        const char *entries, *says;
        uint64_t bytes;
        gk_err_code code;
    } all[] = {
        {"\"a.qweight\":{\"dtype\":\"I32\",\"shape\":[4,32],\"data_offsets\":[0,512]},"
         "\"a.scales\":{\"dtype\":\"F16\",\"shape\":[1,32],\"data_offsets\":[512,576]}",
         "qzeros is missing beside qweight", 576, GK_ERR_FORMAT},
        {"\"a.qweight\":{\"dtype\":\"I32\",\"shape\":[4,32],\"data_offsets\":[0,512]},"
         "\"a.qzeros\":{\"dtype\":\"I32\",\"shape\":[1,5],\"data_offsets\":[576,596]},"
         "\"a.scales\":{\"dtype\":\"F16\",\"shape\":[1,32],\"data_offsets\":[512,576]}",
         "do not fit together", 596, GK_ERR_FORMAT},
        {"\"a.weight_packed\":{\"dtype\":\"U8\",\"shape\":[2,16],\"data_offsets\":[0,32]},"
         "\"a.weight_scale\":{\"dtype\":\"F8_E4M3\",\"shape\":[2,2],\"data_offsets\":[32,36]}",
         "missing", 36, GK_ERR_FORMAT},
        /* MLX of three bits, its FP4, and int-quantized: read as plain they would be nonsense */
        {"\"a.weight\":{\"dtype\":\"U32\",\"shape\":[2,6],\"data_offsets\":[0,48]},"
         "\"a.scales\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[48,56]},"
         "\"a.biases\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[56,64]}",
         "U32 codes with scales", 64, GK_ERR_UNSUPPORTED},
        {"\"a.weight\":{\"dtype\":\"U32\",\"shape\":[2,8],\"data_offsets\":[0,64]},"
         "\"a.scales\":{\"dtype\":\"U8\",\"shape\":[2,2],\"data_offsets\":[64,68]}",
         "U32 codes with scales", 68, GK_ERR_UNSUPPORTED},
        {"\"a.weight\":{\"dtype\":\"I8\",\"shape\":[2,8],\"data_offsets\":[0,16]},"
         "\"a.weight_scale\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[16,24]}",
         "I8 codes with weight_scale", 24, GK_ERR_UNSUPPORTED}};
    static const unsigned char zeros[600];
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        gk_err err = {0};
        write_file(all[i].entries, zeros, all[i].bytes);
        gk_catalog *c = gk_model_open(WORK "/model", &err);
        assert_ok(c != NULL, err);
        bool said = false;
        for (uint64_t k = 0; k < c->findings.n; k++)
            said = said
                   || (strstr(c->findings.row[k].text, all[i].says) != NULL
                       && c->findings.row[k].code == all[i].code);
        if (!said)
            fail_msg("nobody says '%s'", all[i].says);
        gk_catalog_close(c);
    }
}

/* As the reader of Grok-1's pickles yields them: one tensor of two parts. */
static void grok1_s_codes_get_their_scales(void **state)
{
    (void)state;
    /* codes [2, 4], scales bf16 [2, 2] = 1, 2, 0.5, -4 */
    static const unsigned char data[] = {1,    2,    3,    0x80, 0xFF, 0x7F, 5,    6,
                                         0x80, 0x3F, 0x00, 0x40, 0x00, 0x3F, 0x80, 0xC0};
    static const float want[8] = {1, 2, 6, -256, -0.5f, 63.5f, -20, -24};
    write_file("\"c\":{\"dtype\":\"I8\",\"shape\":[2,4],\"data_offsets\":[0,8]},"
               "\"s\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[8,16]}",
               data, 16);
    gk_err err = {0};
    gk_catalog *c = gk_catalog_open(WORK "/model", &err);
    assert_ok(c != NULL, err);
    gk_part_room rooms[2];
    gk_part part[2];
    for (int i = 0; i < 2; i++) {
        part[i] = *gk_part_of(&c->tensor[i], 0, &rooms[i]);
        part[i].role = i == 0 ? GK_PART_CODES : GK_PART_SCALES;
    }
    uint64_t dim[2] = {2, 4};
    gk_tensor both = {
        .name = "w.weight", .dim = dim, .part = part, .n_parts = 2, .ndim = 2, .dtype = GK_I8};
    assert_ok(gk_catalog_set(c, &both, 1, &err) && gk_layout_adopt(c, &err), err);
    assert_string_equal(gk_tensor_kind(&c->tensor[0]), "int8-g2");
    float got[8];
    read_rect(c, &c->tensor[0], (const uint64_t[4]){0, 2, 0, 4}, got);
    assert_memory_equal(got, want, sizeof want);
    read_rect(c, &c->tensor[0], (const uint64_t[4]){1, 1, 2, 2}, got);
    assert_memory_equal(got, want + 6, 8);
    gk_catalog_close(c);
}

/* ---- fitting --------------------------------------------------------------------------- */

static gk_plan *plan_of(const gk_catalog *c, const choice *ch, bool strict, gk_err *err)
{
    gk_plan_options o = options_for(ch->target);
    char *rules = rules_of(ch->scheme);
    o.strict = strict;
    gk_plan *p = try_plan(c, rules, &o, err);
    free(rules);
    return p;
}

static const char *becomes(const gk_plan *p, const char *name)
{
    for (uint64_t i = 0; i < p->n_items; i++)
        if (strcmp(p->item[i].from->name, name) == 0)
            return p->item[i].to.name;
    fail_msg("no %s", name);
    return NULL;
}

/* The odd model has widths 320 and 640; 384 of its experts' are 3 x 128. width80: 80 and 96. */
static void widths_that_do_not_divide_get_what_does(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        choice ch;
        const char *name, *to;
    } all[] = {
        {ODD, {"fp8", "fp8-block"}, "self_attn.q_proj", "fp8-channel"},
        {ODD, {"fp8", "fp8-block"}, "mlp.down_proj", "fp8-block"},
        {ODD, {"gptq", "int4-g128"}, "block_sparse_moe.experts.0.w2", "int4-g64"},
        {ODD, {"awq", "int4-g128-asym"}, "self_attn.o_proj", "keep"},
        {ODD, {"awq", "int4-g128-asym"}, "mlp.down_proj", "int4-g128-asym"},
        {ODD, {"mlx", "int4-g128"}, "block_sparse_moe.experts.0.w2", "int4-g128"},
        {ODD, {"mlx", "int4-g128"}, "block_sparse_moe.experts.0.w1", "int4-g64"},
        {"build/models/width80", {"compressed-tensors", "nvfp4"}, "self_attn.q_proj", "nvfp4"},
        {"build/models/width80", {"compressed-tensors", "mxfp4"}, "self_attn.q_proj", "keep"},
        {"build/models/width80", {"gptq", "int8-channel"}, "self_attn.q_proj", "keep"},
        {"build/models/width80", {"mlx", "int8-g32"}, "self_attn.q_proj", "keep"}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        gk_err err = {0};
        gk_catalog *c = open_whole(all[i].model);
        gk_plan *p = plan_of(c, &all[i].ch, false, &err);
        assert_ok(p != NULL, err);
        const char *to = becomes(p, path_of("model.layers.0.%s.weight", all[i].name));
        if (strcmp(to, all[i].to) != 0)
            fail_msg("%s %s: %s is %s, not %s", all[i].model, all[i].ch.scheme, all[i].name, to,
                     all[i].to);
        gk_plan_free(p);
        if (strcmp(all[i].to, all[i].ch.scheme) != 0) {
            assert_null(plan_of(c, &all[i].ch, true, &err));
            assert_int_equal(err.code, GK_ERR_UNSUPPORTED);
            assert_non_null(strstr(err.msg, "strict"));
        }
        gk_catalog_close(c);
    }
}

/* Zero points themselves or less one, eight bits in groups of 32 or four in groups of 64:
 * without a config.json a reader would take the other. */
static void what_config_json_alone_tells_needs_one(void **state)
{
    (void)state;
    static const choice all[] = {{"gptq", "int4-g32-asym"},
                                 {"mlx", "int8-g32"},
                                 {"gptq", "int8-g32"},
                                 {"mlx", "int4-g64"},
                                 {"awq", "int4-g32-asym"}};
    fresh_dir(WORK "/model");
    write_matrix(WORK "/model/model.safetensors", 32, 128);
    for (size_t i = 0; i < 5; i++) {
        gk_err err = {0};
        gk_catalog *c = open_whole(WORK "/model");
        gk_plan *p = plan_of(c, &all[i], false, &err);
        assert_int_equal(p != NULL, i >= 2);
        if (p == NULL) {
            assert_int_equal(err.code, GK_ERR_ARG);
            assert_non_null(strstr(err.msg, "only config.json"));
        }
        gk_plan_free(p);
        gk_catalog_close(c);
        if (i >= 2) {
            char *rules = rules_of(all[i].scheme);
            const gk_plan_options o = options_for(all[i].target);
            write_model(WORK "/model", rules, &o, OUT); /* and verified */
            free(rules);
        }
    }
}

static void what_a_target_cannot_hold_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *target, *rules, *says;
    } all[] = {{"fp8", "default = int4-g32", "hold fp8-channel"},
               {"gptq", "default = nvfp4", "hold int4 and int8"},
               {"awq", "default = int8-g32", "hold int4 alone"},
               {"mlx", "default = int4-channel", "in groups"},
               {"mlx", "default = fp8-channel", "in groups"},
               {"awq", "mlp\\. = int4-g32-asym\ndefault = int4-g64-asym", "one group size"},
               {"gptq", "q_proj = int8-g32\ndefault = int4-g32", "one module"},
               {"fp8", "experts\\.1 = fp8-block\ndefault = fp8-channel", "one module"},
               {"fp8", "lm_head = fp8-channel\ndefault = keep", "without quantization"}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        gk_err err = {0};
        const gk_plan_options o = options_for(all[i].target);
        gk_catalog *c = open_whole(TINY);
        if (try_plan(c, all[i].rules, &o, &err) != NULL)
            fail_msg("%s: '%s' was planned", all[i].target, all[i].rules);
        assert_int_equal(err.code, GK_ERR_ARG);
        if (strstr(err.msg, all[i].says) == NULL)
            fail_msg("'%s' does not say '%s'", err.msg, all[i].says);
        gk_catalog_close(c);
    }
}

/* ---- NVFP4's global scale --------------------------------------------------------------- */

static float largest_of(const gk_catalog *c, const char *name)
{
    const gk_tensor *t = gk_catalog_find(c, name);
    const uint64_t n = gk_rows(t) * gk_cols(t), all[4] = {0, gk_rows(t), 0, gk_cols(t)};
    float *w = malloc(n * sizeof *w), most = 0;
    assert_non_null(w);
    read_rect(c, t, all, w);
    for (uint64_t i = 0; i < n; i++)
        most = w[i] > most ? w[i] : -w[i] > most ? -w[i] : most;
    free(w);
    return most;
}

/* names: of modules, each with room for a layer's; the last NULL */
static void expect_shared(const gk_catalog *from, const gk_catalog *to, int layer,
                          const char *const *names)
{
    float most = 0, g = 0;
    gk_err err = {0};
    for (int i = 0; names[i] != NULL; i++) {
        const float one = largest_of(from, path_of("model.layers.%d.%s.weight", layer, names[i]));
        most = one > most ? one : most;
    }
    for (int i = 0; names[i] != NULL; i++) {
        const gk_tensor *t = gk_catalog_find(to,
                                             path_of("model.layers.%d.%s.weight", layer, names[i]));
        assert_ok(gk_read_part(to, t, 2, 0, 1, 0, 1, &g, &err), err);
        if (g != 1 / most * 2688)
            fail_msg("%s of layer %d has G = %g, not 2688 / %g", names[i], layer, g, most);
    }
}

static void fused_matrices_share_a_global_scale(void **state)
{
    (void)state;
    static const char *const sets[][9] = {
        {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
        {"self_attn.o_proj"},
        {"mlp.gate_proj", "mlp.up_proj"},
        {"mlp.down_proj"},
        {"block_sparse_moe.experts.0.w1", "block_sparse_moe.experts.1.w1",
         "block_sparse_moe.experts.2.w1", "block_sparse_moe.experts.3.w1",
         "block_sparse_moe.experts.0.w3", "block_sparse_moe.experts.1.w3",
         "block_sparse_moe.experts.2.w3", "block_sparse_moe.experts.3.w3"},
        {"block_sparse_moe.experts.0.w2", "block_sparse_moe.experts.1.w2",
         "block_sparse_moe.experts.2.w2", "block_sparse_moe.experts.3.w2"}};
    const gk_plan_options o = options_for("compressed-tensors");
    write_model(ODD, "layers\\.1\\.mlp = fp8-channel\ndefault = nvfp4", &o, OUT);
    gk_catalog *from = open_whole(ODD), *to = open_whole(OUT);
    for (int layer = 0; layer < 3; layer++)
        for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
            if (layer != 1 || (i != 2 && i != 3))
                expect_shared(from, to, layer, sets[i]);
    assert_string_equal(gk_tensor_kind(gk_catalog_find(to, "model.layers.1.mlp.up_proj.weight")),
                        "fp8-channel");
    gk_catalog_close(from);
    gk_catalog_close(to);
}

/* ---- config.json ------------------------------------------------------------------------- */

/* The member of config.json as compact text. */
static void expect_config(const char *target, const char *rules, const char *key, const char *want)
{
    const gk_plan_options o = options_for(target);
    gk_text text = {0};
    write_model(TINY, rules, &o, OUT);
    gk_catalog *c = open_whole(OUT);
    gk_json_copy(&text, NULL, gk_json_get(c->config, key));
    assert_non_null(text.data);
    char *to = text.data; /* no string in it has a space */
    for (const char *at = text.data; *at != '\0'; at++)
        if (*at != ' ')
            *to++ = *at;
    *to = '\0';
    if (strcmp(text.data, want) != 0)
        fail_msg("%s, %s: %s\nfor %s", target, rules, text.data, want);
    gk_text_free(&text);
    gk_catalog_close(c);
}

#define CT(format, groups, ignore)                                                                 \
    "{\"quant_method\":\"compressed-tensors\",\"version\":\"0.13.0\",\"format\":\"" format         \
    "\",\"quantization_status\":\"compressed\",\"global_compression_ratio\":null,"                 \
    "\"kv_cache_scheme\":null,\"config_groups\":{" groups "},\"ignore\":[" ignore "]}"
#define WEIGHTS(bits, type, strategy, size, blocks, more)                                          \
    "\"weights\":{\"num_bits\":" bits ",\"type\":\"" type                                          \
    "\",\"symmetric\":true,\"strategy\":\"" strategy "\",\"group_size\":" size                     \
    ",\"block_structure\":" blocks ",\"dynamic\":false,\"actorder\":null," more                    \
    "\"observer\":\"minmax\",\"observer_kwargs\":{}}"
#define NO_INPUTS    ",\"input_activations\":null,"
#define EIGHT        "\"num_bits\":8,\"type\":\"float\",\"symmetric\":true,"
#define DYNAMIC      ",\"dynamic\":true},"
#define INPUTS(what) ",\"input_activations\":{" EIGHT "\"strategy\":" what DYNAMIC
#define LINEAR       "{\"targets\":[\"Linear\"],"
#define IGNORE "\"lm_head\",\"re:.*embed_tokens$\",\"re:.*(block_sparse_moe|moe_block)\\\\.gate$\""

#define CHANNEL WEIGHTS("8", "float", "channel", "null", "null", "") INPUTS("\"token\"")
#define BLOCKS                                                                                     \
    WEIGHTS("8", "float", "block", "null", "[128,128]", "") INPUTS("\"group\",\"group_size\":128")
#define NV                                                                                         \
    WEIGHTS("4", "float", "tensor_group", "16", "null",                                            \
            "\"scale_dtype\":\"torch.float8_e4m3fn\",\"zp_dtype\":\"torch.float8_e4m3fn\",")       \
    NO_INPUTS
#define MX                                                                                         \
    WEIGHTS("4", "float", "group", "32", "null",                                                   \
            "\"scale_dtype\":\"torch.uint8\",\"zp_dtype\":\"torch.uint8\",")                       \
    NO_INPUTS
#define REST(format) "\"output_activations\":null,\"format\":\"" format "\"}"
#define FIRST        "\"group_0\":"
#define SECOND       ",\"group_1\":"
#define BY_NAME                                                                                    \
    "{\"targets\":[\"re:.*attn\\\\.(q|k|v|qkv)_proj$\",\"re:.*attn\\\\.o_proj$\","                 \
    "\"re:(.*mlp\\\\.)?(gate|up|gate_up)_proj$\",\"re:(.*mlp\\\\.)?down_proj$\"],"

static void compressed_tensors_says_what_each_format_is(void **state)
{
    (void)state;
    expect_config("fp8", "default = fp8-channel", "quantization_config",
                  CT("float-quantized", FIRST LINEAR CHANNEL REST("float-quantized"), IGNORE));
    expect_config("fp8", "default = fp8-block", "quantization_config",
                  CT("float-quantized", FIRST LINEAR BLOCKS REST("float-quantized"), IGNORE));
    expect_config("compressed-tensors", "default = nvfp4", "quantization_config",
                  CT("nvfp4-pack-quantized", FIRST LINEAR NV REST("nvfp4-pack-quantized"), IGNORE));
    expect_config("compressed-tensors", "experts = mxfp4\ndefault = fp8-channel",
                  "quantization_config",
                  CT("mixed-precision",
                     FIRST BY_NAME CHANNEL REST("float-quantized")
                         SECOND LINEAR MX REST("mxfp4-pack-quantized"),
                     IGNORE));
}

#define GPTQ(bits, group, sym, format, modules, dynamic)                                           \
    "{\"quant_method\":\"gptq\",\"bits\":" bits ",\"group_size\":" group                           \
    ",\"desc_act\":false,\"sym\":" sym ",\"lm_head\":false,\"checkpoint_format\":\"" format        \
    "\",\"pack_dtype\":\"int32\",\"true_sequential\":true,\"damp_percent\":0.01,"                  \
    "\"static_groups\":false,\"modules_in_block_to_quantize\":[" modules "],\"dynamic\":{" dynamic \
    "\"-:.*(block_sparse_moe|moe_block)\\\\.gate$\":{}}}"
#define DENSE     "\"gate_proj\",\"up_proj\",\"down_proj\""
#define ATTENTION "\"q_proj\",\"k_proj\",\"v_proj\",\"o_proj\""

static void gptq_says_which_version_and_what_differs(void **state)
{
    (void)state;
    expect_config("gptq", "default = int4-g128", "quantization_config",
                  GPTQ("4", "128", "true", "gptq", ATTENTION "," DENSE, ""));
    expect_config("gptq", "self_attn = keep\ndefault = int8-channel", "quantization_config",
                  GPTQ("8", "-1", "true", "gptq", DENSE,
                       "\"-:.*attn\\\\.(q|k|v|qkv)_proj$\":{},\"-:.*attn\\\\.o_proj$\":{},"));
    expect_config("gptq", "layers\\.1\\.self_attn.o = int8-g64-asym\ndefault = int4-g32",
                  "quantization_config",
                  GPTQ("4", "32", "false", "gptq_v2", ATTENTION "," DENSE,
                       "\"+:.*layers\\\\.(1)\\\\.(self_)?attn\\\\.o_proj$\":{\"bits\":8,"
                       "\"group_size\":64},"));
}

#define AWQ(group, kept)                                                                           \
    "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":" group                                   \
    ",\"zero_point\":true,\"version\":\"gemm\",\"modules_to_not_convert\":" kept "}"

static void awq_names_what_it_left_out(void **state)
{
    (void)state;
    expect_config("awq", "default = int4-g128-asym", "quantization_config", AWQ("128", "null"));
    expect_config("awq", "mlp\\. = keep\nlayers\\.1\\.self_attn.o = keep\ndefault = int4-g64",
                  "quantization_config",
                  AWQ("64", "[\"layers.1.self_attn.o_proj\",\"layers.1.attn.o_proj\","
                            "\"gate_proj\",\"up_proj\",\"down_proj\"]"));
}

#define MLX(group, more)                                                                           \
    "{\"group_size\":" group ",\"bits\":4,\"mode\":\"affine\",\"lm_head\":false,"                  \
    "\"model.embed_tokens\":false,\"model.layers.0.block_sparse_moe.gate\":false," more            \
    "\"model.layers.1.block_sparse_moe.gate\":false}"

static void mlx_says_it_twice(void **state)
{
    (void)state;
    static const char *const keys[] = {"quantization", "quantization_config"};
    for (int i = 0; i < 2; i++) {
        expect_config("mlx", "default = int4-g64", keys[i], MLX("64", ""));
        expect_config("mlx", "layers\\.0\\.self_attn\\.q = int8-g32\ndefault = int4-g128", keys[i],
                      MLX("128", "\"model.layers.0.self_attn.q_proj\":{\"group_size\":32,"
                                 "\"bits\":8},"));
    }
}

/* Widths of 80 and 96 have no groups of 128, and AWQ has one size of group for all. */
static void a_plan_says_that_nothing_is_quantized(void **state)
{
    static const choice large = {"awq", "int4-g128-asym"}, fits = {"awq", "int4-g32-asym"};
    gk_catalog *c = open_whole("build/models/width80");

    (void)state;
    for (int i = 0; i < 2; i++) {
        gk_err err = {0};
        gk_plan *p = plan_of(c, i == 0 ? &large : &fits, false, &err);
        assert_ok(p != NULL, err);
        int said = 0;
        for (uint64_t k = 0; k < p->notes.n; k++)
            said += strcmp(p->notes.row[k].check, "scheme") == 0;
        assert_int_equal(said, i == 0);
        gk_plan_free(p);
    }
    gk_catalog_close(c);
}

static void a_plan_says_what_no_engine_runs(void **state)
{
    (void)state;
    static const struct {
        choice ch;
        const char *says;
        gk_severity severity;
    } all[] = {{{"compressed-tensors", "int4-g128"}, "SGLang", GK_NOTE},
               {{"compressed-tensors", "nvfp4"}, "gelu", GK_WARN},
               {{"gptq", "int4-g128"}, "modules_in_block_to_quantize", GK_WARN},
               {{"gptq", "int4-g128-asym"}, "modules_in_block_to_quantize", GK_WARN},
               {{"awq", "int4-g128-asym"}, "AWQ", GK_WARN},
               {{"mlx", "int4-g64"}, "mlx-lm", GK_WARN}};
    gk_catalog *c = open_whole(TINY);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        gk_err err = {0};
        gk_plan *p = plan_of(c, &all[i].ch, false, &err);
        assert_ok(p != NULL, err);
        assert_int_equal(p->notes.n, 1);
        assert_int_equal(p->notes.row[0].severity, all[i].severity);
        assert_non_null(strstr(p->notes.row[0].text, all[i].says));
        gk_plan_free(p);
    }
    const choice fine = {"fp8", "fp8-channel"};
    gk_err err = {0};
    gk_plan *p = plan_of(c, &fine, false, &err);
    assert_ok(p != NULL, err);
    assert_int_equal(p->notes.n, 0);
    gk_plan_free(p);
    gk_catalog_close(c);
}

WORK_FOLDER(WORK)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_and_memory_do_not_show),
        cmocka_unit_test(any_piece_is_a_piece_of_the_whole),
        cmocka_unit_test(codes_are_an_input_like_any_other),
        cmocka_unit_test(tiles_of_a_wide_matrix_do_not_show),
        cmocka_unit_test(scales_of_inputs_are_no_tensors),
        cmocka_unit_test(parts_that_do_not_fit_are_findings),
        cmocka_unit_test(fp8_of_other_makers_is_read),
        cmocka_unit_test(grok1_s_codes_get_their_scales),
        cmocka_unit_test(widths_that_do_not_divide_get_what_does),
        cmocka_unit_test(what_config_json_alone_tells_needs_one),
        cmocka_unit_test(what_a_target_cannot_hold_is_refused),
        cmocka_unit_test(fused_matrices_share_a_global_scale),
        cmocka_unit_test(compressed_tensors_says_what_each_format_is),
        cmocka_unit_test(gptq_says_which_version_and_what_differs),
        cmocka_unit_test(awq_names_what_it_left_out),
        cmocka_unit_test(mlx_says_it_twice),
        cmocka_unit_test(a_plan_says_that_nothing_is_quantized),
        cmocka_unit_test(a_plan_says_what_no_engine_runs),
    };
    return cmocka_run_group_tests(tests, open_work, close_work);
}
