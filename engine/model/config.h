/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Typed reading of the keys of a config.json. A value of null means that the key is absent. Messages name the key, its
 * value and what it may be; who calls puts the file's name in front. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"

/* The largest value of any size in config.json: bounds products of two of them to 64 bits. */
#define CWE_CONFIG_SIZE_MAX (1u << 24)

/* Room for a value in a message. */
#define CWE_CONFIG_TEXT 64

/* The value as JSON on one line, cut to the buffer; returns the buffer. */
const char *cwe_config_text(const json_t *value, char text[CWE_CONFIG_TEXT]);

/* The key's value, or NULL where it is absent or null. */
const json_t *cwe_config_get(const json_t *object, const char *key);

/* A whole number from 1 to CWE_CONFIG_SIZE_MAX; `standard` where the key is absent, CWP_EMISSING where that is 0. */
int cwe_config_size(const json_t *object, const char *key, uint32_t standard, uint32_t *ret, struct cwb_err *err);

/* Whether a value is a number from 1e-30 to 1e30: of these products, quotients and roots are finite in single precision. */
int cwe_config_in_range(const json_t *value);

/* Such a number; `standard` where the key is absent, CWP_EMISSING where that is NaN. */
int cwe_config_number(const json_t *object, const char *key, double standard, double *ret, struct cwb_err *err);

/* true or false; `standard` where the key is absent. */
int cwe_config_flag(const json_t *object, const char *key, int standard, int *ret, struct cwb_err *err);

/* An object, or NULL where the key is absent. Borrowed. */
int cwe_config_object(const json_t *object, const char *key, const json_t **ret, struct cwb_err *err);
