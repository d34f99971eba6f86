/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* GPT-2's alphabet: every byte as a printable character, and back. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The pattern by which ByteLevel cuts when use_regex is set. */
extern const char cwe_bytelevel_pattern[];

uint32_t cwe_bytelevel_point(unsigned char byte); /* below U+0144 */
int cwe_bytelevel_byte(uint32_t point);           /* or -1 */
