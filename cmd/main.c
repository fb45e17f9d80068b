/* cmd/main.c - the program. */
#include <stdio.h>

int main(void)
{
    puts("grokkit " GK_VERSION);
    return 0;
}
