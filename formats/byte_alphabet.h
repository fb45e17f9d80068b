/* formats/byte_alphabet.h - GPT-2's way to write any bytes as printable UTF-8.
 *
 * The 188 bytes 0x21..0x7E, 0xA1..0xAC and 0xAE..0xFF stand for the character of the same
 * number; the other 68, in rising order, for U+0100 and on: a blank is U+0120. Source:
 * openai/gpt-2 src/encoder.py bytes_to_unicode(). */
#ifndef GK_FORMATS_BYTE_ALPHABET_H
#define GK_FORMATS_BYTE_ALPHABET_H

#include "formats/text.h"

/* Adds the spelling of len bytes. */
void gk_alphabet_spell(gk_text *out, const char *bytes, uint64_t len);

/* Adds the bytes that were spelled. False, and nothing added, when a character is not of
 * the alphabet. */
bool gk_alphabet_read(gk_text *out, const char *spelled, uint64_t len);

#endif
