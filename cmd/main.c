/* cmd/main.c - the table of commands, and the program around them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cmd/cli.h"
#include "cmd/confine.h"
#include "cmd/progress.h"

static const gk_command commands[] = {
    {"inspect", GK_CMD_INSPECT, 1, 1, "MODEL", "what is in it: tensors, shapes, dtypes, bytes",
     "grokkit inspect grok-2/\n"
     "grokkit inspect grok-2/ --tensors 'layers\\.0\\.' --parts\n",
     NULL, cmd_inspect},
    {"audit", GK_CMD_AUDIT, 1, 1, "MODEL", "is it complete and sound: every slice, shape and value",
     "grokkit audit grok-2/\n"
     "grokkit audit grok-2/ --no-values --json\n",
     "Exit status 0 means that nothing was found, 1 that something was, 3 that a file is "
     "malformed, 6 that its format is not supported.",
     cmd_audit},
    {"hash", GK_CMD_HASH, 1, 1, "MODEL", "SHA-256 of every file and every merged tensor",
     "grokkit hash grok-2/ > grok-2.sha256\n"
     "grokkit hash grok-2/ --check grok-2.sha256\n",
     "The digest of a tensor is that of its merged bytes, row by row, however many files hold it; "
     "of a quantized tensor that of its stored parts, one after the other.",
     cmd_hash},
    {"convert", GK_CMD_CONVERT, 2, 2, "MODEL OUT", "the same values in another container",
     "grokkit convert grok-2/ grok-2-hf/ --to hf\n"
     "grokkit convert grok-2/ grok-2-hf/ --max-shard-size 10GB --dry-run\n",
     NULL, cmd_convert},
    {"quantize", GK_CMD_QUANTIZE, 2, 2, "MODEL OUT", "fewer bits, for vLLM and SGLang",
     "grokkit quantize grok-2/ grok-2-int4/ --dry-run\n"
     "grokkit quantize grok-2/ grok-2-int4/ --scheme int4 --verify\n"
     "grokkit quantize grok-2/ out/ --scheme int4-g64 --rule 'layers\\.63\\.=keep'\n",
     "Norms, router, embeddings and lm_head stay as they are unless a rule names them. OUT gets "
     "everything an engine needs: weights, index, config.json, tokenizer, licence.",
     cmd_quantize},
    {"calibrate", GK_CMD_CALIBRATE, 1, 1000, "MODEL TEXT...",
     "one pass over texts: what the inputs of every matrix look like",
     "grokkit calibrate grok-2/ wiki.txt -o grok-2.imatrix.gguf\n"
     "grokkit quantize grok-2/ grok-2-int4/ --stats grok-2.imatrix.gguf\n",
     "The file is an imatrix that llama-quantize takes, too. A run that was stopped goes on behind "
     "the last finished layer with --resume, to the same bytes.",
     cmd_calibrate},
    {"eval", GK_CMD_EVAL, 1, 1, "MODEL", "perplexity, and the drift against another model",
     "grokkit eval grok-2/ --text wiki.txt\n"
     "grokkit eval grok-2-int4/ --base grok-2/ --text wiki.txt --gate 'kld.mean<=0.02'\n"
     "grokkit eval a/ --base grok-2/ --also b/ --also c/ --text wiki.txt --html report.html\n",
     "Interrupted (SIGINT, SIGTERM), it keeps what is done in DIR of --spool, or else in "
     "$XDG_CACHE_HOME/grokkit or ~/.cache/grokkit: the same command with --resume goes on from "
     "there, to the same numbers, and removes it at the end.",
     cmd_eval},
    {"compare", GK_CMD_COMPARE, 2, 2, "A B", "the error of every tensor between two models",
     "grokkit compare grok-2/ grok-2-int4/\n", NULL, cmd_compare},
    {"tokenize", GK_CMD_TOKENIZE, 1, 1, "MODEL", "text to token ids and back",
     "echo 'Human: hi' | grokkit tokenize grok-2/\n"
     "grokkit tokenize grok-2/ --decode --text ids.txt\n",
     NULL, cmd_tokenize},
    {"version", GK_CMD_VERSION, 0, 0, "", "version, CPU kernels, libraries", "grokkit version\n",
     NULL, cmd_version},
    {0},
};

/* A model of many shards, written to many shards, holds that many files open. */
static void allow_many_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* A closed standard stream would be the first file that is opened. Its place is taken by
 * one that fails: reading a write-only descriptor, writing a read-only one. */
static void fill_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF
            && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0)
            return;
}

static int run(const gk_cli *cli)
{
    gk_err err = {0};

    if (cli->command->id != GK_CMD_VERSION && !gk_cli_has(cli, GK_OPT_NO_SANDBOX)
        && !gk_cli_confine(cli, &err))
        return gk_cli_fail(cli, &err);
    return cli->command->run(cli);
}

int main(int argc, char **argv)
{
    gk_cli cli;
    int status;

    fill_standard_streams();
    gk_cli_catch_signals();
    allow_many_files();
    if (gk_cli_parse(commands, argc, argv, &cli, &status))
        status = run(&cli);
    gk_progress_end();
    /* what did not reach the disk or the pipe is an error, whatever was computed */
    if ((fflush(stdout) != 0 || ferror(stdout))
        && (status == GK_EXIT_FINE || status == GK_EXIT_IO)) {
        gk_err err = {.off = GK_NO_OFF};
        gk_fail(&err, GK_ERR_IO, GK_NO_OFF, "cannot write to standard output");
        status = gk_cli_fail(&cli, &err);
    }
    gk_cli_free(&cli);
    return status;
}
