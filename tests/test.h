/* tests/test.h - cmocka with the headers it wants, and where the test data lies. */
#ifndef GK_TESTS_TEST_H
#define GK_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "formats/err.h"

#define TINY "testdata/grok2-tiny"

/* Fails the test with the message of an unexpected error. */
#define assert_ok(call, err)                                                                       \
    do {                                                                                           \
        if (!(call))                                                                               \
            fail_msg("%s: %s: %s: %s", #call, (err).file, (err).tensor, (err).msg);                \
    } while (0)

#endif
