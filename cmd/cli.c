/* cmd/cli.c - argv against the tables. GNU manners: options stand anywhere, `--` ends
 * them, `--name value` and `--name=value`, `-t2` and `-t 2`, flags bundle (`-qv`). */
#include "cmd/cli.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cmd/table.h"

#define MAX_NEAR_LEN 40 /* longer words get no suggestion */

struct gk_cli_given {
    gk_opt      option;
    const char *text; /* NULL for a flag          */
    uint64_t    number;
    int         choice;
};

/* One pass over argv. */
typedef struct parser {
    const gk_command *commands;
    gk_cli           *cli;
    char            **argv;
    int               argc, i; /* i: the next word */
    gk_err            err;
    uint64_t          cap_given, cap_args;
} parser;

/* ---- words ------------------------------------------------------------------ */

/* Optimal string alignment: edits and swaps of neighbours, each costs one. */
static int distance(const char *a, const char *b)
{
    int row[3][MAX_NEAR_LEN + 1];
    int n = (int)strlen(a), m = (int)strlen(b);
    for (int j = 0; j <= m; j++)
        row[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            int best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]
                && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n % 3][m];
}

const char *gk_near_word(const char *word, const char *const *words, int n)
{
    size_t len = strlen(word);
    if (len < 2 || len > MAX_NEAR_LEN)
        return NULL;
    const char *best = NULL;
    int best_cost = len <= 3 ? 2 : 3 + (int)len / 6; /* one past what is still near */
    for (int i = 0; i < n; i++) {
        size_t word_len = strlen(words[i]);
        if (word_len > MAX_NEAR_LEN)
            continue;
        /* a word cut short is near when nothing else is nearer */
        int cost = strncmp(word, words[i], len) == 0 ? 1 : distance(word, words[i]);
        if (cost < best_cost && cost < (int)word_len) {
            best = words[i];
            best_cost = cost;
        }
    }
    return best;
}

/* Returns the bytes of a unit of SIZE, or 0. */
static double size_unit(const char *s)
{
    static const char letters[] = "KMGT";
    if (*s == '\0' || strcasecmp(s, "b") == 0)
        return 1;
    const char *at = memchr(letters, *s & ~0x20, sizeof letters - 1);
    if (!at)
        return 0;
    int power = (int)(at - letters) + 1;
    if (s[1] == '\0' || strcasecmp(s + 1, "ib") == 0)
        return ldexp(1, 10 * power);
    return strcasecmp(s + 1, "b") == 0 ? pow(1000, power) : 0;
}

bool gk_parse_size(const char *text, uint64_t *bytes)
{
    uint64_t whole = 0;
    const char *s = text;
    bool exact = true;
    for (; *s >= '0' && *s <= '9'; s++) {
        unsigned digit = (unsigned)(*s - '0');
        if (whole > (UINT64_MAX - digit) / 10)
            return false;
        whole = whole * 10 + digit;
    }
    if (s == text)
        return false;
    double fraction = 0, scale = 0.1;
    if (*s == '.') {
        exact = false;
        for (s++; *s >= '0' && *s <= '9'; s++, scale /= 10)
            fraction += (*s - '0') * scale;
    }
    while (*s == ' ')
        s++;
    double unit = size_unit(s);
    if (unit == 0)
        return false;
    uint64_t n = (uint64_t)unit;
    if (whole > UINT64_MAX / n)
        return false;
    uint64_t extra = exact ? 0 : (uint64_t)(fraction * unit + 1e-6);
    if (whole * n > UINT64_MAX - extra)
        return false;
    *bytes = whole * n + extra;
    return true;
}

static bool parse_uint(const char *s, uint64_t *out)
{
    uint64_t v = 0;
    if (!*s)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || v > (UINT64_MAX - (uint64_t)(*s - '0')) / 10)
            return false;
        v = v * 10 + (uint64_t)(*s - '0');
    }
    *out = v;
    return true;
}

/* Letters of either case and '_' for '-' are the same choice. */
static bool same_choice(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        int x = *a == '_' ? '-' : *a | 0x20, y = *b == '_' ? '-' : *b | 0x20;
        if (x != y)
            return false;
    }
    return *a == *b;
}

/* ---- values ----------------------------------------------------------------- */

static bool bad_choice(const gk_option *o, const char *text, gk_err *err)
{
    char list[200] = "";
    size_t len = 0;
    for (int i = 0; o->choice[i]; i++)
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", i ? ", " : "",
                                o->choice[i]);
    return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "--%s '%s' is none of: %s", o->name, text, list);
}

static bool parse_number(const gk_option *o, const char *text, uint64_t *number, gk_err *err)
{
    bool is_size = o->kind == GK_KIND_SIZE;
    if (!(is_size ? gk_parse_size(text, number) : parse_uint(text, number)))
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "--%s '%s' is not %s", o->name, text,
                       is_size ? "a size, as 256MiB, 1.5G or 2GB" : "a whole number");
    if (*number < o->min)
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "--%s '%s': at least %llu", o->name, text,
                       (unsigned long long)o->min);
    if (o->max && *number > o->max)
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "--%s '%s': at most %llu", o->name, text,
                       (unsigned long long)o->max);
    return true;
}

static bool add_given(parser *p, gk_opt option, const char *text)
{
    const gk_option *o = gk_option_get(option);
    gk_cli_given g = {.option = option, .text = text};
    void *rows = p->cli->given;

    if ((o->kind == GK_KIND_UINT || o->kind == GK_KIND_SIZE)
        && !parse_number(o, text, &g.number, &p->err))
        return false;
    if (o->kind == GK_KIND_STRING && !*text)
        return gk_fail(&p->err, GK_ERR_ARG, GK_NO_OFF, "--%s is empty", o->name);
    if (o->kind == GK_KIND_CHOICE) {
        while (o->choice[g.choice] && !same_choice(text, o->choice[g.choice]))
            g.choice++;
        if (!o->choice[g.choice])
            return bad_choice(o, text, &p->err);
        g.text = o->choice[g.choice];
    }
    if (!gk_grow(&rows, &p->cap_given, (uint64_t)p->cli->n_given + 1, sizeof g, &p->err))
        return false;
    p->cli->given = rows;
    p->cli->given[p->cli->n_given++] = g;
    return true;
}

/* ---- words of argv ---------------------------------------------------------- */

static bool unknown_option(parser *p, const char *name, size_t len)
{
    const char *names[GK_N_OPTS];
    char word[MAX_NEAR_LEN + 1] = "";
    int n = 0, mask = p->cli->command ? p->cli->command->id : GK_CMD_ALL;
    if (len < sizeof word)
        memcpy(word, name, len);
    for (int i = 0; i < GK_N_OPTS; i++)
        if (gk_option_get((gk_opt)i)->commands & mask)
            names[n++] = gk_option_get((gk_opt)i)->name;
    const char *near = gk_near_word(word, names, n);
    return near ? gk_fail(&p->err, GK_ERR_ARG, GK_NO_OFF,
                          "unknown option '--%.*s'; did you mean '--%s'?", (int)len, name, near)
                : gk_fail(&p->err, GK_ERR_ARG, GK_NO_OFF, "unknown option '--%.*s'", (int)len,
                          name);
}

static bool parse_long(parser *p, const char *word)
{
    size_t len = strcspn(word, "=");
    const char *value = word[len] ? word + len + 1 : NULL;
    int i = 0;
    while (i < GK_N_OPTS && !(strncmp(gk_option_get((gk_opt)i)->name, word, len) == 0
                              && gk_option_get((gk_opt)i)->name[len] == '\0'))
        i++;
    if (i == GK_N_OPTS || len == 0)
        return unknown_option(p, word, len);
    const gk_option *o = gk_option_get((gk_opt)i);
    if (o->kind == GK_KIND_FLAG && value)
        return gk_fail(&p->err, GK_ERR_ARG, GK_NO_OFF, "--%s takes no value", o->name);
    if (o->kind != GK_KIND_FLAG && !value) {
        if (p->i == p->argc)
            return gk_fail(&p->err, GK_ERR_ARG, GK_NO_OFF, "--%s needs a value", o->name);
        value = p->argv[p->i++];
    }
    return add_given(p, (gk_opt)i, value);
}

/* Letters after one '-': flags, the last may take a value. */
static bool parse_short(parser *p, const char *word)
{
    for (; *word; word++) {
        int i = 0;
        while (i < GK_N_OPTS && gk_option_get((gk_opt)i)->letter != *word)
            i++;
        if (i == GK_N_OPTS)
            return gk_fail(&p->err, GK_ERR_ARG, GK_NO_OFF, "unknown option '-%c'", *word);
        if (gk_option_get((gk_opt)i)->kind == GK_KIND_FLAG) {
            if (!add_given(p, (gk_opt)i, NULL))
                return false;
            continue;
        }
        const char *value = word + 1;
        if (!*value) {
            if (p->i == p->argc)
                return gk_fail(&p->err, GK_ERR_ARG, GK_NO_OFF, "-%c needs a value", *word);
            value = p->argv[p->i++];
        }
        return add_given(p, (gk_opt)i, value);
    }
    return true;
}

static bool find_command(parser *p, const char *word)
{
    const char *names[32];
    int n = 0;
    for (const gk_command *c = p->commands; c->name; c++) {
        if (!c->run) /* not linked in */
            continue;
        if (strcmp(c->name, word) == 0) {
            p->cli->command = c;
            return true;
        }
        if (n < 32)
            names[n++] = c->name;
    }
    const char *near = gk_near_word(word, names, n);
    return near ? gk_fail(&p->err, GK_ERR_ARG, GK_NO_OFF,
                          "unknown command '%s'; did you mean '%s'?", word, near)
                : gk_fail(&p->err, GK_ERR_ARG, GK_NO_OFF, "unknown command '%s'", word);
}

static bool add_operand(parser *p, const char *word)
{
    gk_cli *cli = p->cli;
    void *rows = cli->arg;
    if (!cli->command)
        return find_command(p, word);
    if (word[0] == '\0')
        return gk_fail(&p->err, GK_ERR_ARG, GK_NO_OFF, "an argument is empty");
    if (!gk_grow(&rows, &p->cap_args, (uint64_t)cli->n_args + 1, sizeof *cli->arg, &p->err))
        return false;
    cli->arg = rows;
    cli->arg[cli->n_args++] = word;
    return true;
}

static bool parse_words(parser *p)
{
    bool options_end = false;
    while (p->i < p->argc) {
        const char *word = p->argv[p->i++];
        bool ok = true;
        if (options_end || word[0] != '-' || word[1] == '\0')
            ok = add_operand(p, word);
        else if (strcmp(word, "--") == 0)
            options_end = true;
        else if (strcmp(word, "--version") == 0 && !p->cli->command)
            ok = find_command(p, "version");
        else if (word[1] == '-')
            ok = parse_long(p, word + 2);
        else
            ok = parse_short(p, word + 1);
        if (!ok)
            return false;
    }
    return true;
}

/* ---- what the words amount to ------------------------------------------------ */

static bool check_options(parser *p)
{
    const gk_command *command = p->cli->command;
    for (int i = 0; i < p->cli->n_given; i++) {
        const gk_option *o = gk_option_get(p->cli->given[i].option);
        if (o->commands & command->id)
            continue;
        char takers[120] = "";
        size_t len = 0;
        for (const gk_command *c = p->commands; c->name && len < sizeof takers; c++)
            if (o->commands & c->id)
                len += (size_t)snprintf(takers + len, sizeof takers - len, "%s%s",
                                        len ? ", " : "", c->name);
        return gk_fail(&p->err, GK_ERR_ARG, GK_NO_OFF, "%s does not take --%s; it belongs to %s",
                       command->name, o->name, takers);
    }
    return true;
}

static bool check_operands(parser *p)
{
    const gk_cli *cli = p->cli;
    const gk_command *c = cli->command;
    if (cli->n_args > c->max_args)
        return gk_fail(&p->err, GK_ERR_ARG, GK_NO_OFF, "unexpected argument '%s'",
                       cli->arg[c->max_args]);
    if (cli->n_args < c->min_args)
        return gk_fail(&p->err, GK_ERR_ARG, GK_NO_OFF, "%s needs %s%s", c->name, c->operands,
                       cli->n_args ? ", not one alone" : "");
    return true;
}

static void settle(gk_cli *cli)
{
    int cpus = omp_get_max_threads(); /* knows OMP_NUM_THREADS and the CPU set */
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    bool plain = gk_cli_has(cli, GK_OPT_NO_COLOR) || (no_color && *no_color)
                 || (term && strcmp(term, "dumb") == 0);
    cli->threads = (int)gk_cli_uint(cli, GK_OPT_THREADS,
                                    (uint64_t)(cpus < GK_MAX_THREADS ? cpus : GK_MAX_THREADS));
    cli->memory = gk_cli_uint(cli, GK_OPT_MEMORY, GK_DEFAULT_MEMORY_BYTES);
    cli->verbose = gk_cli_has(cli, GK_OPT_QUIET) ? -1 : gk_cli_count(cli, GK_OPT_VERBOSE);
    cli->json = gk_cli_has(cli, GK_OPT_JSON);
    cli->color = !plain && isatty(STDOUT_FILENO);
    cli->color_talk = !plain && isatty(STDERR_FILENO);
}

/* Help goes to stdout and is no error, wherever it was asked for. */
static int say_help(const gk_cli *cli, const gk_command *commands, const gk_command *command)
{
    gk_text t = {0};
    int width = gk_terminal_width(STDOUT_FILENO);
    gk_cli_help(&t, commands, command, width < 60 || width > 100 ? 80 : width);
    int status = gk_cli_emit(cli, &t, GK_EXIT_FINE);
    gk_text_free(&t);
    return status;
}

/* Knows --json even when the words before it are wrong. */
static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

bool gk_cli_parse(const gk_command *commands, int argc, char **argv, gk_cli *cli, int *status)
{
    memset(cli, 0, sizeof *cli);
    parser p = {.commands = commands, .cli = cli, .argv = argv, .argc = argc, .i = 1};
    bool help_command = argc > 1 && strcmp(argv[1], "help") == 0;

    p.i += help_command;
    cli->json = wants_json(argc, argv);
    cli->arena = gk_arena_new(&p.err);
    bool ok = cli->arena && parse_words(&p);
    if (ok && (help_command || gk_cli_has(cli, GK_OPT_HELP))) {
        *status = say_help(cli, commands, cli->command);
        return false;
    }
    if (ok && !cli->command)
        ok = gk_fail(&p.err, GK_ERR_ARG, GK_NO_OFF, "no command given");
    if (!ok || !check_options(&p) || !check_operands(&p)) {
        *status = p.err.code == GK_ERR_ARG ? gk_cli_usage(cli, "%s", p.err.msg)
                                           : gk_cli_fail(cli, &p.err);
        return false;
    }
    settle(cli);
    return true;
}

void gk_cli_free(gk_cli *cli)
{
    gk_arena_free(cli->arena);
    gk_free(cli->given);
    gk_free(cli->arg);
    memset(cli, 0, sizeof *cli);
}

/* ---- what was given ---------------------------------------------------------- */

static const gk_cli_given *last_given(const gk_cli *cli, gk_opt option)
{
    for (int i = cli->n_given; i-- > 0;)
        if (cli->given[i].option == option)
            return &cli->given[i];
    return NULL;
}

bool gk_cli_has(const gk_cli *cli, gk_opt option)
{
    return last_given(cli, option) != NULL;
}

const char *gk_cli_string(const gk_cli *cli, gk_opt option)
{
    const gk_cli_given *g = last_given(cli, option);
    return g ? g->text : NULL;
}

uint64_t gk_cli_uint(const gk_cli *cli, gk_opt option, uint64_t otherwise)
{
    const gk_cli_given *g = last_given(cli, option);
    return g ? g->number : otherwise;
}

int gk_cli_choice(const gk_cli *cli, gk_opt option, int otherwise)
{
    const gk_cli_given *g = last_given(cli, option);
    return g ? g->choice : otherwise;
}

int gk_cli_count(const gk_cli *cli, gk_opt option)
{
    int n = 0;
    for (int i = 0; i < cli->n_given; i++)
        n += cli->given[i].option == option;
    return n;
}

const char *gk_cli_nth(const gk_cli *cli, gk_opt option, int nth)
{
    for (int i = 0; i < cli->n_given; i++)
        if (cli->given[i].option == option && nth-- == 0)
            return cli->given[i].text;
    return NULL;
}
