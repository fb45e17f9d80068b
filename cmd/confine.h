/* cmd/confine.h - the sandbox of a command: what it may touch follows from its words. */
#ifndef GK_CMD_CONFINE_H
#define GK_CMD_CONFINE_H

#include "cmd/cli.h"

/* Leaves the process the files that the command line names, and enters the sandbox, before
 * anything of them is read and before there are threads. What the kernel lacks is not used;
 * what fails is told, and the command goes on. False: NOMEM. */
bool gk_cli_confine(const gk_cli *cli, gk_err *err);

#endif
