/* cmd/eval_page.c - what eval found out, as one page. */
#include "cmd/eval.h"

bool gk_eval_page(const gk_eval *j, const gk_score *s)
{
    (void)s;
    (void)j;
    return true;
}
