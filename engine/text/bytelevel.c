/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* GPT-2's alphabet: bytes 21-7E, A1-AC, AE-FF are themselves, the other 68 follow from U+0100 on.
 */
#include "engine/text/bytelevel.h"

const char cwe_bytelevel_pattern[] =
	"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

uint32_t cwe_bytelevel_point(unsigned char byte)
{
	if (byte <= 0x20)
		return 0x100u + byte;
	if (byte >= 0x7F && byte <= 0xA0)
		return 0x121u + (byte - 0x7Fu);
	return byte == 0xAD ? 0x143 : byte;
}

int cwe_bytelevel_byte(uint32_t point)
{
	if (point == 0x143)
		return 0xAD;
	if (point >= 0x121 && point < 0x143)
		return (int)(point - 0x121 + 0x7F);
	if (point >= 0x100 && point <= 0x120)
		return (int)(point - 0x100);
	if ((point >= 0x21 && point <= 0x7E) || (point >= 0xA1 && point <= 0xFF && point != 0xAD))
		return (int)point;
	return -1;
}
