/* cmd/help.c - the help texts, from the two tables. Examples stand first: most people
 * came for a line to copy. */
#include "cmd/cli.h"

#include <string.h>

#include "cmd/table.h"

#define NAME_COLUMNS 26 /* help of an option starts here, on its own line if it must */

static const char purpose[] = "grokkit " GK_VERSION " - read, prove, shrink and measure open Grok "
                              "weights\n";

static const char statuses[] =
    "Exit status: 0 fine; 1 findings, a mismatch or a gate not met; 2 usage; 3 input malformed or "
    "refused; 4 I/O error; 5 out of space or memory; 6 unsupported feature; 130 or 143 "
    "interrupted. Treat any other as failure.";

static const char models[] =
    "MODEL is a release directory, a Hugging Face directory, an index (*.index.json) or a single "
    "weight file, or a .tar or .zip of these. SIZE is bytes, or a number with K, M, G, T or KiB, "
    "MiB, GiB, TiB (1024) or KB, MB, GB, TB (1000).";

/* Adds words with line breaks; the first line starts at column `at`, others are
 * indented by `indent`. */
static void wrap(gk_text *out, const char *s, int at, int indent, int width)
{
    bool first = true;
    while (*s) {
        int len = (int)strcspn(s, " ");
        if (!first && at + 1 + len > width) {
            gk_text_printf(out, "\n%*s", indent, "");
            at = indent;
            first = true;
        }
        gk_text_printf(out, "%s%.*s", first ? "" : " ", len, s);
        at += len + !first;
        first = false;
        s += len;
        s += strspn(s, " ");
    }
    gk_text_char(out, '\n');
}

static void add_option(gk_text *out, const gk_option *o, int width)
{
    gk_text left = {0};
    gk_text_str(&left, "  ");
    if (o->letter)
        gk_text_printf(&left, "-%c, ", o->letter);
    else
        gk_text_str(&left, "    ");
    gk_text_printf(&left, "--%s", o->name);
    if (o->metavar)
        gk_text_printf(&left, " %s", o->metavar);
    for (int i = 0; o->kind == GK_KIND_CHOICE && o->choice[i]; i++)
        gk_text_printf(&left, "%s%s", i ? "|" : " ", o->choice[i]);
    if (left.data)
        gk_text_add(out, left.data, left.len);
    if (left.len + 2 > NAME_COLUMNS)
        gk_text_printf(out, "\n%*s", NAME_COLUMNS, "");
    else
        gk_text_printf(out, "%*s", NAME_COLUMNS - (int)left.len, "");
    wrap(out, o->help, NAME_COLUMNS, NAME_COLUMNS, width);
    gk_text_free(&left);
}

static void add_options(gk_text *out, const gk_command *command, int width)
{
    int n = 0;
    for (int i = 0; i < GK_N_OPTS; i++) {
        const gk_option *o = gk_option_get((gk_opt)i);
        if (!(o->commands & command->id) || o->commands == GK_CMD_ALL)
            continue;
        if (n++ == 0)
            gk_text_str(out, "\nOptions:\n");
        add_option(out, o, width);
    }
}

static void add_common(gk_text *out, int width)
{
    gk_text_str(out, "\nCommon options:\n");
    for (int i = 0; i < GK_N_OPTS; i++)
        if (gk_option_get((gk_opt)i)->commands == GK_CMD_ALL)
            add_option(out, gk_option_get((gk_opt)i), width);
}

static void add_examples(gk_text *out, const char *examples)
{
    gk_text_str(out, "Examples:\n");
    for (const char *s = examples; *s;) {
        size_t len = strcspn(s, "\n");
        gk_text_printf(out, "  %.*s\n", (int)len, s);
        s += len + (s[len] == '\n');
    }
}

static void help_of_program(gk_text *out, const gk_command *commands, int width)
{
    gk_text_printf(out, "%s\n", purpose);
    add_examples(out, "grokkit audit grok-2\n"
                      "grokkit inspect grok-2\n"
                      "grokkit quantize grok-2 grok-2-int4 --to compressed-tensors\n"
                      "grokkit eval grok-2-int4 --base grok-2 --text wiki.test.raw\n");
    gk_text_str(out, "\nUsage: grokkit COMMAND [options] MODEL...\n\nCommands:\n");
    for (const gk_command *c = commands; c->name; c++)
        if (c->run)
            gk_text_printf(out, "  %-10s %s\n", c->name, c->summary);
    gk_text_str(out, "\n'grokkit COMMAND --help' tells the options of a command.\n");
    add_common(out, width);
    gk_text_char(out, '\n');
    wrap(out, models, 0, 0, width);
    gk_text_char(out, '\n');
    wrap(out, statuses, 0, 0, width);
}

void gk_cli_help(gk_text *out, const gk_command *commands, const gk_command *command, int width)
{
    if (!command) {
        help_of_program(out, commands, width);
        return;
    }
    add_examples(out, command->examples);
    gk_text_printf(out, "\nUsage: grokkit %s [options]%s%s\n\n", command->name,
                   *command->operands ? " " : "", command->operands);
    wrap(out, command->summary, 0, 0, width);
    for (const char *s = command->notes; s && *s;) { /* paragraphs end in '\n' */
        char paragraph[1200];
        size_t len = strcspn(s, "\n");
        gk_text_char(out, '\n');
        if (len < sizeof paragraph) {
            memcpy(paragraph, s, len);
            paragraph[len] = '\0';
            wrap(out, paragraph, 0, 0, width);
        }
        s += len + (s[len] == '\n');
    }
    add_options(out, command, width);
    add_common(out, width);
}
