/* cmd/progress.c - how far a long command is. Workers only add to an atomic; the one
 * that finds a line due and the printer free prints it. */
#include "cmd/progress.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/table.h"

typedef enum mode {
    MODE_OFF,
    MODE_LINE,  /* one line, drawn again    */
    MODE_PLAIN, /* a line now and then      */
    MODE_JSON,
} mode;

static const double interval[] = {
    [MODE_OFF] = 1e9, [MODE_LINE] = 0.1, [MODE_PLAIN] = 30, [MODE_JSON] = 1};

static struct {
    mode          mode; /* what follows is of the command's own thread */
    gk_unit       unit;
    const char   *what;
    double        start; /* seconds of the monotonic clock */
    bool          shown;
    _Atomic double due;  /* when a line may be printed next */
    atomic_bool   active;
    atomic_flag   printing;
    _Atomic uint64_t      done, total, skipped; /* skipped: done before the start */
    _Atomic(const char *) item;
} state = {.printing = ATOMIC_FLAG_INIT};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what is printed ----------------------------------------------------------- */

static const char *amount(gk_human buf, uint64_t n)
{
    return state.unit == GK_UNIT_BYTES ? gk_human_bytes(buf, n) : gk_human_count(buf, n);
}

static void add_line(gk_text *t, uint64_t done, uint64_t total, double seconds)
{
    static const char *const units[] = {[GK_UNIT_BYTES] = "", [GK_UNIT_TOKENS] = " tokens",
                                        [GK_UNIT_ITEMS] = ""};
    gk_human a, b;
    double fresh = (double)(done - state.skipped);
    double rate = seconds > 0.2 ? fresh / seconds : 0;
    gk_text_printf(t, "%s  %s", state.what, amount(a, done));
    if (total)
        gk_text_printf(t, " of %s%s  %s", amount(b, total), units[state.unit],
                       gk_human_share(a, done, total));
    if (rate > 0 && rate < 1e18)
        gk_text_printf(t, "  %s/s", amount(a, (uint64_t)rate));
    if (rate > 0 && total > done)
        gk_text_printf(t, "  %s left", gk_human_time(a, (double)(total - done) / rate));
}

static void add_item(gk_text *t, const char *item, int width)
{
    gk_text clean = {0};
    int room = width - (int)t->len - 3; /* what stands in t is ASCII */
    gk_text_escaped(&clean, item, strlen(item));
    if (clean.data && room >= 12) {
        gk_text_str(t, "  ");
        gk_cut_middle(t, clean.data, room);
    }
    gk_text_free(&clean);
}

static void add_json(gk_text *t, uint64_t done, uint64_t total, double seconds, bool last)
{
    static const char *const units[] = {[GK_UNIT_BYTES] = "bytes", [GK_UNIT_TOKENS] = "tokens",
                                        [GK_UNIT_ITEMS] = "items"};
    gk_json_open(t, NULL, '{');
    gk_json_string(t, "status", last ? "done" : "running");
    gk_json_string(t, "what", state.what);
    gk_json_string(t, "unit", units[state.unit]);
    gk_json_uint(t, "done", done);
    gk_json_uint(t, "total", total);
    gk_json_real(t, "seconds", seconds);
    gk_json_string(t, "item", state.item);
    gk_json_close(t, '}');
    gk_text_char(t, '\n');
}

/* For the holder of `printing`. */
static void print(double at, bool last)
{
    gk_text t = {0};
    uint64_t done = state.done, total = state.total;
    const char *item = state.item;
    if (state.mode == MODE_JSON) {
        add_json(&t, done, total, at - state.start, last);
    } else if (state.mode == MODE_LINE) {
        add_line(&t, done, total, at - state.start);
        if (item)
            add_item(&t, item, gk_terminal_width(STDERR_FILENO));
        gk_text_str(&t, "\x1b[K\r");
        state.shown = true;
    } else {
        gk_text_str(&t, "grokkit: ");
        add_line(&t, done, total, at - state.start);
        if (item)
            add_item(&t, item, 120);
        gk_text_char(&t, '\n');
    }
    if (t.data)
        fwrite(t.data, 1, t.len, stderr);
    fflush(stderr);
    gk_text_free(&t);
}

/* ---- the face ------------------------------------------------------------------ */

static mode mode_of(const gk_cli *cli)
{
    enum { AUTO, ALWAYS, NEVER, JSON };
    int choice = gk_cli_choice(cli, GK_OPT_PROGRESS, AUTO);
    if (choice == NEVER || (cli->verbose < 0 && choice == AUTO))
        return MODE_OFF;
    if (choice == JSON)
        return MODE_JSON;
    /* color_talk stands for a terminal that understands escapes */
    return choice == ALWAYS || cli->color_talk ? MODE_LINE : MODE_PLAIN;
}

void gk_progress_begin(const gk_cli *cli, const char *what, gk_unit unit, uint64_t total)
{
    gk_progress_end();
    state.mode = mode_of(cli);
    if (state.mode == MODE_OFF)
        return;
    state.unit = unit;
    state.what = what;
    state.done = 0;
    state.skipped = 0;
    state.total = total;
    state.item = NULL;
    state.start = now();
    state.due = state.start + interval[state.mode];
    state.active = true;
    if (state.mode != MODE_PLAIN) /* a log wants no line of a short run */
        print(state.start, false);
}

void gk_progress_add(uint64_t n)
{
    if (!state.active)
        return;
    state.done += n;
    double at = now();
    if (at < state.due || atomic_flag_test_and_set(&state.printing))
        return;
    if (at >= state.due) { /* not printed while this thread came here */
        state.due = at + interval[state.mode];
        print(at, false);
    }
    atomic_flag_clear(&state.printing);
}

void gk_progress_item(const char *item)
{
    state.item = item;
}

void gk_progress_total(uint64_t total)
{
    state.total = total;
}

void gk_progress_set(uint64_t done)
{
    state.done = done;
    state.skipped = done;
}

static void erase(void)
{
    if (state.shown)
        fputs("\r\x1b[K", stderr);
    state.shown = false;
}

void gk_progress_hide(void)
{
    if (!state.active || state.mode != MODE_LINE)
        return;
    while (atomic_flag_test_and_set(&state.printing))
        ;
    erase();
    state.due = now() + interval[state.mode]; /* time for the caller to print */
    atomic_flag_clear(&state.printing);
}

void gk_progress_end(void)
{
    if (!state.active)
        return;
    state.active = false;
    while (atomic_flag_test_and_set(&state.printing))
        ;
    erase();
    if (state.mode == MODE_JSON)
        print(now(), true);
    fflush(stderr);
    state.item = NULL;
    atomic_flag_clear(&state.printing);
}
