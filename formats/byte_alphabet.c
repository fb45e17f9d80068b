/* formats/byte_alphabet.c - bytes to characters and back. */
#include "formats/byte_alphabet.h"

#define FIRST_MOVED 0x100
#define N_MOVED     68

static bool stands_for_itself(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/* The other bytes are 0x00..0x20, 0x7F..0xA0 and 0xAD: 33, 34 and 1 of them. */
static unsigned char_of(unsigned byte)
{
    if (stands_for_itself(byte))
        return byte;
    if (byte <= 0x20)
        return FIRST_MOVED + byte;
    return byte == 0xAD ? FIRST_MOVED + 67 : FIRST_MOVED + 33 + (byte - 0x7F);
}

static int byte_of(unsigned code)
{
    if (code < FIRST_MOVED)
        return stands_for_itself(code) ? (int)code : -1;
    if (code >= FIRST_MOVED + N_MOVED)
        return -1;
    const unsigned k = code - FIRST_MOVED;
    return (int)(k < 33 ? k : k < 67 ? 0x7F + (k - 33) : 0xAD);
}

void gk_alphabet_spell(gk_text *out, const char *bytes, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++) {
        const unsigned code = char_of((unsigned char)bytes[i]);
        if (code < 0x80) {
            gk_text_char(out, (char)code);
        } else { /* all codes are below U+0800: two bytes */
            gk_text_char(out, (char)(0xC0 | code >> 6));
            gk_text_char(out, (char)(0x80 | (code & 0x3F)));
        }
    }
}

bool gk_alphabet_read(gk_text *out, const char *spelled, uint64_t len)
{
    const uint64_t before = out->len;

    for (uint64_t at = 0; at < len;) {
        const int n = gk_utf8_len(spelled + at, len - at);
        const unsigned lead = (unsigned char)spelled[at];
        int byte = -1;
        if (n == 1)
            byte = byte_of(lead);
        else if (n == 2)
            byte = byte_of((lead & 0x1F) << 6 | ((unsigned char)spelled[at + 1] & 0x3F));
        if (byte < 0) {
            out->len = before;
            return false;
        }
        gk_text_char(out, (char)byte);
        at += (uint64_t)n;
    }
    return true;
}
