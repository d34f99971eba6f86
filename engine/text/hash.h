/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The hash of short texts that the tokenizers' tables use: 64 bits, both halves good. Not kept
 * anywhere, and the same on machines of one byte order only. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t cwe_hash_mix(uint64_t h)
{
	h ^= h >> 32;
	h *= 0xD6E8FEB86659FD93u;
	h ^= h >> 29;
	return h;
}

/* The last bytes of a text, less than eight: different ones of the same count give different words.
 */
static inline uint64_t cwe_hash_tail(const char *text, size_t length)
{
	uint32_t low = 0;
	uint32_t high = 0;
	if (length >= 4) {
		memcpy(&low, text, 4);
		memcpy(&high, text + length - 4, 4);
		return (uint64_t)high << 32 | low;
	}
	if (length == 0)
		return 0;
	low = (unsigned char)text[0];
	low |= (uint32_t)(unsigned char)text[length / 2] << 8;
	low |= (uint32_t)(unsigned char)text[length - 1] << 16;
	return low;
}

static inline uint64_t cwe_hash_text(const char *text, size_t length)
{
	uint64_t h = 0x9E3779B97F4A7C15u ^ length;
	while (length >= 8) {
		uint64_t word;
		memcpy(&word, text, 8);
		h = (h ^ word) * 0xD6E8FEB86659FD93u;
		h ^= h >> 32;
		text += 8;
		length -= 8;
	}
	h = (h ^ cwe_hash_tail(text, length)) * 0x9E3779B97F4A7C15u;
	return cwe_hash_mix(h);
}

/* A place in a table of any size. */
static inline size_t cwe_hash_place(uint64_t h, size_t slots)
{
	return (size_t)((h >> 32) * slots >> 32);
}

/* Bits of the hash for the highest byte of a word, never 255: whatever is in the other bytes, the
 * word is not UINT32_MAX. */
static inline uint32_t cwe_hash_tag(uint64_t h)
{
	uint32_t bits = (uint32_t)(h & 0xFF);
	return (bits < 255 ? bits : 254) << 24;
}
