/* cmd/talk.c - stdout, stderr and signals. Every line of talk is one write, so
 * that lines of threads and of other programs do not mix. */
#include "cmd/talk.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cli.h"
#include "cmd/progress.h"

static volatile sig_atomic_t stop;
static volatile sig_atomic_t on_tty;

/* ---- talk -------------------------------------------------------------------- */

static void say(const gk_text *line)
{
    gk_progress_hide();
    if (line->data && fwrite(line->data, 1, line->len, stderr) != line->len)
        clearerr(stderr); /* nobody listens */
    fflush(stderr);
}

static void talk(const gk_cli *cli, const char *fmt, va_list args)
{
    char message[1024];
    gk_text line = {0};
    int len = vsnprintf(message, sizeof message, fmt, args);
    if (len < 0)
        return;
    gk_text_str(&line, cli && cli->color_talk ? "\x1b[1mgrokkit:\x1b[0m " : "grokkit: ");
    gk_text_escaped(&line, message, strlen(message));
    gk_text_char(&line, '\n');
    say(&line);
    gk_text_free(&line);
}

void gk_cli_talk(const gk_cli *cli, const char *fmt, ...)
{
    va_list args;
    if (cli && cli->verbose < 0)
        return;
    va_start(args, fmt);
    talk(cli, fmt, args);
    va_end(args);
}

void gk_cli_verbose(const gk_cli *cli, const char *fmt, ...)
{
    va_list args;
    if (cli->verbose <= 0)
        return;
    va_start(args, fmt);
    talk(cli, fmt, args);
    va_end(args);
}

/* ---- errors ------------------------------------------------------------------- */

/* As a shell would say it: 130 after Ctrl-C, 143 after SIGTERM and its kin. */
static int status_of(const gk_err *err)
{
    if (err->code == GK_ERR_INTERRUPTED && stop != 0 && stop != SIGINT)
        return 128 + SIGTERM;
    return gk_err_exit(err->code);
}

static void add_error_json(gk_text *t, const gk_err *err)
{
    gk_json_open(t, NULL, '{');
    gk_json_open(t, "error", '{');
    gk_json_uint(t, "code", (uint64_t)status_of(err));
    gk_json_string(t, "kind", gk_err_kind(err->code));
    gk_json_string(t, "message", err->msg);
    gk_json_string(t, "file", err->file[0] ? err->file : NULL);
    gk_json_string(t, "tensor", err->tensor[0] ? err->tensor : NULL);
    if (err->off == GK_NO_OFF)
        gk_json_raw(t, "offset", "null", 4);
    else
        gk_json_uint(t, "offset", err->off);
    gk_json_close(t, '}');
    gk_json_close(t, '}');
    gk_text_char(t, '\n');
}

static void add_error(gk_text *t, const gk_err *err)
{
    if (err->file[0]) {
        gk_text_escaped(t, err->file, strlen(err->file));
        gk_text_str(t, ": ");
    }
    if (err->tensor[0]) {
        gk_text_str(t, "tensor '");
        gk_text_escaped(t, err->tensor, strlen(err->tensor));
        gk_text_str(t, "': ");
    }
    if (err->off != GK_NO_OFF)
        gk_text_printf(t, "at byte %llu: ", (unsigned long long)err->off);
    gk_text_escaped(t, err->msg, strlen(err->msg));
    gk_text_char(t, '\n');
}

static int fail(const gk_cli *cli, const gk_err *err, const char *advice)
{
    gk_text t = {0};
    gk_text_str(&t, cli->color_talk ? "\x1b[1;31mgrokkit:\x1b[0m " : "grokkit: ");
    add_error(&t, err);
    gk_text_str(&t, advice);
    if (cli->json)
        add_error_json(&t, err);
    if (t.failed) { /* even then the sentence must come out */
        gk_progress_hide();
        fprintf(stderr, "grokkit: out of memory\n");
    } else {
        say(&t);
    }
    gk_text_free(&t);
    return status_of(err);
}

int gk_cli_fail(const gk_cli *cli, const gk_err *err)
{
    return fail(cli, err, "");
}

int gk_cli_usage(const gk_cli *cli, const char *fmt, ...)
{
    gk_err err = {.code = GK_ERR_ARG, .off = GK_NO_OFF};
    char advice[80] = "Try 'grokkit --help'.\n";
    va_list args;
    va_start(args, fmt);
    vsnprintf(err.msg, sizeof err.msg, fmt, args);
    va_end(args);
    if (cli->command)
        snprintf(advice, sizeof advice, "Try 'grokkit %s --help'.\n", cli->command->name);
    return fail(cli, &err, advice);
}

/* ---- results ------------------------------------------------------------------ */

bool gk_cli_write(const void *bytes, uint64_t len)
{
    gk_progress_hide();
    return !ferror(stdout) && fwrite(bytes, 1, len, stdout) == len;
}

int gk_cli_emit(const gk_cli *cli, gk_text *text, int status)
{
    gk_err err = {0};
    if (text->len > 0 && text->data[text->len - 1] != '\n')
        gk_text_char(text, '\n');
    if (!gk_text_ok(text, &err))
        return gk_cli_fail(cli, &err);
    bool ok = text->len == 0 || gk_cli_write(text->data, text->len);
    gk_text_clear(text);
    return ok ? status : GK_EXIT_IO;
}

void gk_cli_json(const gk_cli *cli, gk_text *t)
{
    t->indent = 2;
    gk_json_open(t, NULL, '{');
    gk_json_uint(t, "schema", GK_SCHEMA);
    gk_json_string(t, "command", cli->command->name);
}

/* ---- signals ------------------------------------------------------------------ */

static void on_signal(int number)
{
    static const char erase[] = "\r\x1b[K";
    static const char line[] = "grokkit: stopping at the next safe point; once more stops at "
                               "once\n";
    int saved = errno;
    if (stop)
        _exit(number == SIGINT ? 130 : 143);
    stop = number;
    ssize_t n = on_tty ? write(STDERR_FILENO, erase, sizeof erase - 1) : 0;
    n += write(STDERR_FILENO, line, sizeof line - 1);
    (void)n; /* nobody to tell */
    errno = saved;
}

void gk_cli_catch_signals(void)
{
    static const int caught[] = {SIGINT, SIGTERM, SIGHUP};
    /* no SA_RESTART: a read that waits for a person ends */
    struct sigaction catch = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN}, old;
    on_tty = isatty(STDERR_FILENO);
    for (int i = 0; i < 3; i++)
        if (sigaction(caught[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) /* nohup, & */
            sigaction(caught[i], &catch, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
}

const volatile sig_atomic_t *gk_cli_stop(void)
{
    return &stop;
}

bool gk_cli_go_on(gk_err *err)
{
    return !stop || gk_fail(err, GK_ERR_INTERRUPTED, GK_NO_OFF, "interrupted");
}
