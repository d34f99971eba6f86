/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reading of tokenizer.json's components with their places in messages. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

#define CWE_PLACE_SIZE 192

/* "pre_tokenizer.pretokenizers[3]" and the like; longer ones are cut. */
void cwe_place(char out[CWE_PLACE_SIZE], const char *parent, const char *key);
void cwe_place_item(char out[CWE_PLACE_SIZE], const char *parent, const char *key, size_t item);

/* Sets the message "<place>: ...", and err->field to place; returns code. */
int cwe_component_refuse(struct cwb_err *err, int code, const char *place, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* The string "type" of a component; an error when it is no object or has none. */
int cwe_component_type(
	const json_t *component, const char *place, const char **ret, struct cwb_err *err);
/* `<place>.type "Foo" is not supported`: always CWP_EUNKNOWN. */
int cwe_component_unknown(const char *place, const char *type, struct cwb_err *err);

/* Members by name. fallback < 0: the member must be there (for booleans). */
int cwe_component_flag(const json_t *component, const char *place, const char *key, int fallback,
	int *ret, struct cwb_err *err);
int cwe_component_string(const json_t *component, const char *place, const char *key,
	const char **ret, size_t *ret_length, struct cwb_err *err);
/* An array; *ret is NULL when the member is absent or null and needed is 0. */
int cwe_component_array(const json_t *component, const char *place, const char *key, int needed,
	const json_t **ret, struct cwb_err *err);
/* An id: an integer from 0 to CWE_ID_LIMIT - 1. */
#define CWE_ID_LIMIT (1u << 24)
int cwe_component_id(const json_t *value, const char *place, unsigned *ret, struct cwb_err *err);

/* Parses tokenizer_config.json. Its model_max_length may be 10^30, so that all numbers are read as
 * real ones. *ret is a new reference. */
int cwe_component_config(const char *text, size_t length, json_t **ret, struct cwb_err *err);
