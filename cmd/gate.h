/* cmd/gate.h - conditions on a report, for scripts: "kld.mean<=0.02,top1>=0.94". */
#ifndef GK_CMD_GATE_H
#define GK_CMD_GATE_H

#include "cmd/cli.h"

/* Checks the spelling; NULL is fine. False and ARG. */
bool gk_gate_parse(const char *gate, gk_err *err);

/* Evaluates every condition against a JSON document; those that do not hold are said on
 * stderr. An unknown path or a value that is no number is not met. False: not all met,
 * or *err. */
bool gk_gate_met(const gk_cli *cli, const char *gate, const char *json, uint64_t len, gk_err *err);

#endif
