/* cmd/cli.h - the command line: one table of options, one of commands.
 *
 * Parsing, --help and the suggestions for misspelt words come from the same two
 * tables, so they cannot drift apart. stdout is the result, stderr the talk.
 * A command is `int cmd_x(const gk_cli *cli)`, and returns the exit status:
 *
 *     gk_err err = {0};
 *     if (!work(cli->arg[0], ..., &err))   // operand counts are checked already
 *         return gk_cli_fail(cli, &err);
 *     return gk_cli_emit(cli, &text, GK_EXIT_FINE); */
#ifndef GK_CMD_CLI_H
#define GK_CMD_CLI_H

#include "cmd/talk.h"

#define GK_DEFAULT_MEMORY_BYTES (256u << 20)
#define GK_MAX_THREADS          1024

/* Bits of gk_option.commands and the identity of a command. */
enum {
    GK_CMD_INSPECT  = 1 << 0,
    GK_CMD_AUDIT    = 1 << 1,
    GK_CMD_HASH     = 1 << 2,
    GK_CMD_CONVERT  = 1 << 3,
    GK_CMD_QUANTIZE = 1 << 4,
    GK_CMD_EVAL     = 1 << 5,
    GK_CMD_COMPARE  = 1 << 6,
    GK_CMD_TOKENIZE = 1 << 7,
    GK_CMD_VERSION  = 1 << 8,
    GK_CMD_CALIBRATE = 1 << 9,
    GK_CMD_ALL      = (1 << 10) - 1,
};

typedef enum gk_opt {
    /* what a command reads, writes and does; the table in cli.c says who takes it */
    GK_OPT_TENSORS, /* string, a PCRE2 regex              */
    GK_OPT_PARTS,
    GK_OPT_CONFIG,
    GK_OPT_BOM,
    GK_OPT_CHECK, /* string, a file or folder             */
    GK_OPT_GGUF_HASH,
    GK_OPT_SIGN,         /* string, a file                */
    GK_OPT_SIGNATURE,    /* string, a file                */
    GK_OPT_PUBLIC_KEY,   /* string, a file                */
    GK_OPT_CERTIFICATES, /* string, a file                */
    GK_OPT_IGNORE_UNSIGNED,
    GK_OPT_NO_VALUES,
    GK_OPT_NO_CHECKSUMS,
    GK_OPT_SUMS,     /* string, a file                    */
    GK_OPT_HTML, /* string, a file                        */
    GK_OPT_STRICT,
    GK_OPT_KEEP_GOING,
    GK_OPT_TO,     /* string                              */
    GK_OPT_SCHEME, /* string                              */
    GK_OPT_RULE,   /* string, repeatable                  */
    GK_OPT_RECIPE, /* string, a file                      */
    GK_OPT_METHOD, /* choice: rtn search                  */
    GK_OPT_DTYPE,  /* choice: bf16 f16 f32                */
    GK_OPT_MAX_SHARD_SIZE, /* size                        */
    GK_OPT_STATS, /* string                                     */
    GK_OPT_HESSIAN_BLOCK, /* uint                               */
    GK_OPT_TARGET_SIZE, /* size                                 */
    GK_OPT_TARGET_BPW,  /* string, a number                     */
    GK_OPT_GRAIN,       /* choice: engine kind matrix           */
    GK_OPT_SAVE_RECIPE, /* string, a file                       */
    GK_OPT_NO_MEASURE,
    GK_OPT_GGUF_ROPE, /* choice: plain yarn                     */
    GK_OPT_HASH,           /* choice: none output all     */
    GK_OPT_VERIFY,
    GK_OPT_NO_ENGINE_CHECK,
    GK_OPT_DRY_RUN,
    GK_OPT_RESUME,
    GK_OPT_BREAK_LOCK,
    GK_OPT_FORCE,
    GK_OPT_OUTPUT,   /* string, a file                    */
    GK_OPT_TOKENS,   /* uint                              */
    GK_OPT_IMATRIX,
    GK_OPT_PROBE_TOKENS, /* uint                      */
    GK_OPT_TEXT,     /* string, a file, repeatable        */
    GK_OPT_BASE,     /* string, a model                   */
    GK_OPT_ALSO,     /* string, a model, repeatable       */
    GK_OPT_LOCAL,
    GK_OPT_CTX,      /* uint                              */
    GK_OPT_WINDOWS,  /* uint                              */
    GK_OPT_PROTOCOL, /* choice: llama paper               */
    GK_OPT_PRESET,   /* choice: sglang llama.cpp llama.cpp-plain vllm */
    GK_OPT_GATE,     /* string                            */
    GK_OPT_LOGITS,   /* string, a file                    */
    GK_OPT_TOKEN_IDS,      /* string, a file              */
    GK_OPT_GELU,           /* choice: erf tanh            */
    GK_OPT_ROPE,           /* choice: config original yarn yarn_log theta_scale */
    GK_OPT_ROPE_MAGNITUDE, /* choice: off on              */
    GK_OPT_RENORM,         /* choice: off on              */
    GK_OPT_ROUTER_CAP,     /* choice: off on              */
    GK_OPT_TEMPERATURE,    /* choice: off on              */
    GK_OPT_FINAL_ORDER,    /* choice: scale-cap cap-scale */
    GK_OPT_DECODE,
    /* common to all commands */
    GK_OPT_THREADS, /* uint                               */
    GK_OPT_MEMORY,  /* size                               */
    GK_OPT_SPOOL,   /* string, a directory                */
    GK_OPT_PROGRESS, /* choice: auto always never json    */
    GK_OPT_NO_SANDBOX,
    GK_OPT_NO_COLOR,
    GK_OPT_JSON,
    GK_OPT_QUIET,
    GK_OPT_VERBOSE,
    GK_OPT_HELP,
    GK_N_OPTS,
} gk_opt;

typedef enum gk_opt_kind {
    GK_KIND_FLAG,
    GK_KIND_STRING,
    GK_KIND_UINT,
    GK_KIND_SIZE,
    GK_KIND_CHOICE,
} gk_opt_kind;

#define GK_MAX_CHOICES 8

/* A row of the option table. */
typedef struct gk_option {
    const char *name;   /* without the dashes                         */
    char        letter; /* 0: none                                    */
    gk_opt_kind kind;
    bool        repeatable; /* all values count, not the last         */
    int         commands;   /* bits GK_CMD_X                          */
    const char *metavar;    /* NULL for flags and choices             */
    const char *choice[GK_MAX_CHOICES + 1]; /* NULL-ended             */
    uint64_t    min, max;   /* of a uint or size; max 0: no bound     */
    const char *help;
} gk_option;

/* Returns the row of an option; option must be below GK_N_OPTS. */
const gk_option *gk_option_get(gk_opt option);

/* A row of the command table in main.c; a row without a name ends it. */
typedef struct gk_command {
    const char *name;
    int         id;                 /* GK_CMD_X                                  */
    int         min_args, max_args; /* operands                                  */
    const char *operands;           /* "MODEL OUT", for usage and messages       */
    const char *summary;            /* one line                                  */
    const char *examples;           /* lines "grokkit ...", each ended by '\n'   */
    const char *notes;              /* paragraphs below the options, or NULL     */
    int (*run)(const gk_cli *cli);
} gk_command;

typedef struct gk_cli_given gk_cli_given;

/* A parsed command line; its strings live as long as argv. */
struct gk_cli {
    const gk_command *command;
    const char      **arg; /* operands, n_args of them: within the row's counts */
    int               n_args;
    int               threads; /* 1..GK_MAX_THREADS; default: the CPUs we may use */
    uint64_t          memory;  /* bytes, > 0                                      */
    int               verbose; /* -1 quiet, 0, 1 ...                              */
    bool              json;
    bool              color;      /* colours may be used on stdout       */
    bool              color_talk; /* ... and on stderr                   */
    gk_arena         *arena;      /* for the command; freed by main      */
    gk_cli_given     *given;
    int               n_given;
};

/* Parses argv against the table. True: *cli is ready, run cli->command->run. False:
 * all is said (help on stdout, or one line of complaint) and *status is the exit
 * status. Free with gk_cli_free() either way. */
bool gk_cli_parse(const gk_command *commands, int argc, char **argv, gk_cli *cli, int *status);
void gk_cli_free(gk_cli *cli);

/* Adds the help of the program (command NULL) or of one command, wrapped to width. */
void gk_cli_help(gk_text *out, const gk_command *commands, const gk_command *command, int width);

/* What was given. An option that takes a value and was given more than once has
 * its last value; only repeatable ones keep all. */
bool        gk_cli_has(const gk_cli *cli, gk_opt option);
/* Returns the text given, of a choice as the table spells it; NULL when not given. */
const char *gk_cli_string(const gk_cli *cli, gk_opt option);
/* Returns the number, or the bytes of a size. */
uint64_t    gk_cli_uint(const gk_cli *cli, gk_opt option, uint64_t otherwise);
/* Returns the index in the row's choice[]. */
int         gk_cli_choice(const gk_cli *cli, gk_opt option, int otherwise);
int         gk_cli_count(const gk_cli *cli, gk_opt option);
/* Returns the i-th value of a repeatable option, in the order given. */
const char *gk_cli_nth(const gk_cli *cli, gk_opt option, int i);

/* Reads a SIZE: bytes, or a number (fractions allowed) with K M G T or KiB MiB GiB
 * TiB (1024-based) or KB MB GB TB (1000-based), in any case. False: not a size, or
 * beyond 2^64. A fraction of a byte is dropped. */
bool gk_parse_size(const char *text, uint64_t *bytes);

/* Returns the row of words[] (n of them) that somebody who typed `word` may have
 * meant, or NULL when none is near. */
const char *gk_near_word(const char *word, const char *const *words, int n);

/* ---- commands: cmd_<name>.c ------------------------------------------------ */

int cmd_inspect(const gk_cli *cli);
int cmd_audit(const gk_cli *cli);
int cmd_hash(const gk_cli *cli);
int cmd_convert(const gk_cli *cli);
int cmd_quantize(const gk_cli *cli);
int cmd_calibrate(const gk_cli *cli);
int cmd_eval(const gk_cli *cli);
int cmd_compare(const gk_cli *cli);
int cmd_tokenize(const gk_cli *cli);
int cmd_version(const gk_cli *cli);

#endif
