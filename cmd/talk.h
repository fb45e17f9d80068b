/* cmd/talk.h - what the program says and how it is stopped. stdout is the result,
 * stderr the talk; both are escaped, so no file can drive the terminal. */
#ifndef GK_CMD_TALK_H
#define GK_CMD_TALK_H

#include <signal.h>

#include "formats/text.h"

#define GK_SCHEMA 1 /* of every JSON document */

/* What gk_err_exit() does not cover. */
#define GK_EXIT_FINE     0
#define GK_EXIT_FINDINGS 1 /* findings, a mismatch, a gate that is not met */
#define GK_EXIT_USAGE    2
#define GK_EXIT_IO       4

typedef struct gk_cli gk_cli;

/* Prints one line of talk on stderr ("grokkit: ..."), clearing a progress line
 * first; control characters are escaped. Nothing with --quiet. Any thread. */
void gk_cli_talk(const gk_cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* As gk_cli_talk(), only with --verbose. */
void gk_cli_verbose(const gk_cli *cli, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Prints "grokkit: FILE: tensor 'T': at byte N: message" on stderr and, with
 * --json, a last line {"error":{code,kind,message,file,tensor,offset}}. Returns
 * the exit status of the error. */
int gk_cli_fail(const gk_cli *cli, const gk_err *err);

/* As gk_cli_fail() for a mistake in usage: adds how to get help. Returns 2. */
int gk_cli_usage(const gk_cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Writes len bytes to stdout, clearing a progress line first. False once stdout
 * failed (full disk, closed pipe): stop, main says it and exits 4. */
bool gk_cli_write(const void *bytes, uint64_t len);

/* Writes the text, with a newline where it has none at its end, empties it and
 * returns status; GK_EXIT_IO when stdout failed, 5 when the text is incomplete. */
int gk_cli_emit(const gk_cli *cli, gk_text *text, int status);

/* Starts a JSON document: {"schema":1,"command":"...", indented by 2. The caller
 * closes it with gk_json_close(t, '}') and gives it to gk_cli_emit(). */
void gk_cli_json(const gk_cli *cli, gk_text *t);

/* ---- signals -------------------------------------------------------------- */

/* Catches SIGINT, SIGTERM and SIGHUP: the first says so at once and sets the
 * flag, the second exits 130. One that was ignored at start (nohup) stays ignored.
 * Ignores SIGPIPE and SIGXFSZ: the writes then fail. */
void gk_cli_catch_signals(void);

/* Nonzero (the signal's number) once a signal asked to stop; hand it to the
 * library as its cancel flag. Any thread. */
const volatile sig_atomic_t *gk_cli_stop(void);

/* Returns false and INTERRUPTED when a signal asked to stop, else true. */
bool gk_cli_go_on(gk_err *err);

#endif
