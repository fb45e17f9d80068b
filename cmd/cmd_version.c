/* cmd/cmd_version.c - what this binary is and what it picked on this machine. */
#include <archive.h>
#include <jansson.h>
#include <omp.h>
#include <openssl/crypto.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

#include "cmd/cli.h"
#include "formats/sandbox.h"
#include "quant/kernels.h"
#include "quant/blas.h"

#if defined __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

typedef struct library {
    const char *name;
    char        version[48];
} library;

static int list_libraries(library out[5])
{
    char pcre2[40] = "";

    pcre2_config(PCRE2_CONFIG_VERSION, pcre2);
    pcre2[strcspn(pcre2, " ")] = '\0';
    out[0] = (library){.name = "jansson"};
    snprintf(out[0].version, sizeof out[0].version, "%s", jansson_version_str());
    out[1] = (library){.name = "libcrypto"};
    snprintf(out[1].version, sizeof out[1].version, "%s", OpenSSL_version(OPENSSL_VERSION_STRING));
    out[2] = (library){.name = "pcre2"};
    snprintf(out[2].version, sizeof out[2].version, "%s", pcre2);
    out[3] = (library){.name = "libarchive"};
    snprintf(out[3].version, sizeof out[3].version, "%s",
             archive_version_string() + strlen("libarchive "));
    out[4] = (library){.name = "openmp"};
    snprintf(out[4].version, sizeof out[4].version, "%d", _OPENMP);
    return 5;
}

int cmd_version(const gk_cli *cli)
{
    gk_text out = {0};
    library lib[5];
    const int n = list_libraries(lib);
    const char *isa = gk_kernels_get()->isa, *blas = gk_blas_name(),
               *sandbox = gk_sandbox_name(gk_sandbox_has());

    if (cli->json) {
        gk_cli_json(cli, &out);
        gk_json_string(&out, "version", GK_VERSION);
        gk_json_string(&out, "compiler", COMPILER);
        gk_json_string(&out, "isa", isa);
        gk_json_string(&out, "blas", blas);
        gk_json_string(&out, "sandbox", sandbox);
        gk_json_open(&out, "libraries", '{');
        for (int i = 0; i < n; i++)
            gk_json_string(&out, lib[i].name, lib[i].version);
        gk_json_close(&out, '}');
        gk_json_close(&out, '}');
    } else {
        gk_text_printf(&out, "grokkit %s\n", GK_VERSION);
        gk_text_printf(&out, "compiler   %s\nkernels    %s\nblas       %s\nsandbox    %s\n",
                       COMPILER, isa, blas, sandbox);
        for (int i = 0; i < n; i++)
            gk_text_printf(&out, "%-10s %s\n", lib[i].name, lib[i].version);
    }
    const int status = gk_cli_emit(cli, &out, GK_EXIT_FINE);
    gk_text_free(&out);
    return status;
}
