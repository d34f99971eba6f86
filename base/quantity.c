/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Strict reading of numbers with units: no spaces, no signs, no exponents, no rounding. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <cwp/error.h>

#include "base/quantity.h"

struct unit {
	const char *name;
	uint64_t factor;
};

/* Largest first, so that printing finds the shortest text. */
static const struct unit size_units[] = {
	{"GiB", UINT64_C(1) << 30},
	{"GB", UINT64_C(1000000000)},
	{"MiB", UINT64_C(1) << 20},
	{"MB", UINT64_C(1000000)},
	{"KiB", UINT64_C(1) << 10},
	{"KB", UINT64_C(1000)},
	{"B", UINT64_C(1)},
};
static const struct unit time_units[] = {{"h", 3600}, {"m", 60}, {"s", 1}};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct unit *find_unit(const char *name, const struct unit *units, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(units[i].name, name) == 0) {
			return &units[i];
		}
	}
	return NULL;
}

static int is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Reads digits of a number; the point, when there is one, is counted away in *ret_scale (a power of
 * 10). */
static int parse_number(const char **text, uint64_t *ret_digits, uint64_t *ret_scale)
{
	const char *p = *text;
	uint64_t digits = 0, scale = 1;
	int overflow = 0;

	if (!is_digit(*p)) {
		return CWP_EVALUE;
	}
	for (; is_digit(*p); p++) {
		overflow |= __builtin_mul_overflow(digits, UINT64_C(10), &digits);
		overflow |= __builtin_add_overflow(digits, (uint64_t)(*p - '0'), &digits);
	}
	if (*p == '.') {
		p++;
		if (!is_digit(*p)) {
			return CWP_EVALUE;
		}
		for (; is_digit(*p); p++) {
			overflow |= __builtin_mul_overflow(digits, UINT64_C(10), &digits);
			overflow |= __builtin_add_overflow(digits, (uint64_t)(*p - '0'), &digits);
			overflow |= __builtin_mul_overflow(scale, UINT64_C(10), &scale);
		}
	}
	*text = p;
	*ret_digits = digits;
	*ret_scale = scale;
	return overflow ? CWP_ELIMIT : 0;
}

static int parse(const char *text, const struct unit *units, size_t count, uint64_t *ret)
{
	uint64_t digits, scale, product;
	int rc = parse_number(&text, &digits, &scale);

	if (rc == CWP_EVALUE) {
		return rc;
	}
	const struct unit *unit = find_unit(text, units, count);
	if (unit == NULL && (*text != '\0' || rc < 0 || digits != 0)) {
		return CWP_EVALUE;
	}
	if (rc < 0 || __builtin_mul_overflow(digits, unit != NULL ? unit->factor : 1, &product)) {
		return CWP_ELIMIT;
	}
	if (product % scale != 0) {
		return CWP_EVALUE;
	}
	if (product / scale > INT64_MAX) {
		return CWP_ELIMIT;
	}
	*ret = product / scale;
	return 0;
}

static void print(
	uint64_t value, const struct unit *units, size_t count, char ret[CWB_QUANTITY_TEXT])
{
	char text[CWB_QUANTITY_TEXT];

	ret[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		if (value % units[i].factor != 0 || (value == 0 && i + 1 < count)) {
			continue;
		}
		snprintf(text, sizeof(text), "%" PRIu64 "%s", value / units[i].factor,
			units[i].name);
		if (ret[0] == '\0' || strlen(text) < strlen(ret)) {
			memcpy(ret, text, sizeof(text));
		}
	}
}

int cwb_size_parse(const char *text, uint64_t *ret_bytes)
{
	return parse(text, size_units, COUNT(size_units), ret_bytes);
}

int cwb_time_parse(const char *text, uint64_t *ret_seconds)
{
	return parse(text, time_units, COUNT(time_units), ret_seconds);
}

void cwb_size_print(uint64_t bytes, char ret[CWB_QUANTITY_TEXT])
{
	print(bytes, size_units, COUNT(size_units), ret);
}

void cwb_time_print(uint64_t seconds, char ret[CWB_QUANTITY_TEXT])
{
	print(seconds, time_units, COUNT(time_units), ret);
}
