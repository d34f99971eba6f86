/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Character sets of data files. All of them have ASCII in its place, so that a file's structure can
 * be found before its letters are known. */
#pragma once

#include <stddef.h>

/* In the order of the job's key charset, behind auto. */
enum cwe_encoding { CWE_ENCODING_UTF8, CWE_ENCODING_MAC_ROMAN, CWE_ENCODING_LATIN1 };

#define CWE_ENCODING_GROWTH 3 /* bytes that one byte may become */

/* Writes text as UTF-8 into ret, which has room for CWE_ENCODING_GROWTH * length bytes; how many it
 * became. UTF-8 stays as it is, unchecked. Mac OS Roman may have letters of UTF-8 among it: 0xC3 (a
 * root sign) before 0x80 to 0xBF is taken for the UTF-8 of one of U+00C0 to U+00FF. */
size_t cwe_encoding_decode(enum cwe_encoding encoding, const char *text, size_t length, char *ret);
