/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Checks of what an opened plugin says about itself: sizes first, then names, tables and functions. */
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include <cwp/backend.h>
#include <cwp/evaluator.h>
#include <cwp/quantizer.h>
#include <cwp/scorer.h>

#include "engine/plugin/descriptor.h"
#include "engine/plugin/registry.h"
#include "engine/plugin/settings.h"

enum { MAX_OPTIONS = 64, MAX_STRING = 512, GROUPS = 3, FUNCTION = sizeof(void (*)(void)) };

/* The tables of each kind. All their members from `first` to the end are function pointers that must be there, but for those
 * of groups: from one group's beginning to the next one's they are there or missing together. */
struct kind_interface {
	const char *id;
	uint32_t size;
	size_t first;
	size_t group[GROUPS]; /* beginnings, ascending; 0: no more */
};

static const struct kind_interface kinds[] = {
	[CWP_KIND_SCORER] = {CWP_SCORER_INTERFACE, sizeof(struct cwp_scorer), offsetof(struct cwp_scorer, needs),
		{offsetof(struct cwp_scorer, finish)}},
	[CWP_KIND_QUANTIZER] = {CWP_QUANTIZER_INTERFACE, sizeof(struct cwp_quantizer), offsetof(struct cwp_quantizer, needs),
		{offsetof(struct cwp_quantizer, prepare), offsetof(struct cwp_quantizer, smooth), offsetof(struct cwp_quantizer, device_memory)}},
	[CWP_KIND_BACKEND] = {CWP_BACKEND_INTERFACE, sizeof(struct cwp_backend), offsetof(struct cwp_backend, open),
		{offsetof(struct cwp_backend, gptq_factor)}},
	[CWP_KIND_EVALUATOR] = {CWP_EVALUATOR_INTERFACE, sizeof(struct cwp_evaluator), offsetof(struct cwp_evaluator, open), {0}},
};

const char *cwe_kind_interface(uint32_t kind)
{
	return kind < sizeof(kinds) / sizeof(kinds[0]) ? kinds[kind].id : NULL;
}

int cwe_id_is_valid(const char *id)
{
	size_t n = strnlen(id, 64);

	return n > 0 && n < 64 && id[0] >= 'a' && id[0] <= 'z' && strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

static int check_sizes(const struct cwp_plugin *p, uint64_t symbol_size, const char *path, struct cwb_err *err)
{
	/* The size field itself must be readable before it says how much more is. */
	if (symbol_size != 0 && symbol_size < sizeof(p->size)) {
		return cwb_err_set(err, CWP_EPLUGIN, "%s: symbol %s has %" PRIu64 " bytes, too few for a descriptor; rebuild the plugin",
			path, CWP_PLUGIN_SYMBOL, symbol_size);
	}
	if (p->size < sizeof(*p)) {
		return cwb_err_set(err, CWP_EPLUGIN,
			"%s: its descriptor's size field says %" PRIu32 " bytes, ABI %d.%d needs %zu; set it to sizeof(struct cwp_plugin)", path,
			p->size, CWP_ABI_MAJOR, CWP_ABI_MINOR, sizeof(*p));
	}
	if (symbol_size != 0 && symbol_size < p->size) {
		return cwb_err_set(err, CWP_EPLUGIN,
			"%s: its descriptor's size field says %" PRIu32 " bytes, the symbol %s has %" PRIu64
			"; set it to sizeof(struct cwp_plugin)",
			path, p->size, CWP_PLUGIN_SYMBOL, symbol_size);
	}
	return 0;
}

static int check_versions(const struct cwp_plugin *p, const struct cwe_note *note, const char *path, struct cwb_err *err)
{
	if (p->abi_major != note->abi_major || p->abi_minor != note->abi_minor) {
		return cwb_err_set(err, CWP_EABI,
			"%s: its descriptor says plugin ABI %u.%u, its note %" PRIu32 ".%" PRIu32 ", this host has %d.%d; build the whole plugin "
			"with one version of the headers",
			path, (unsigned)p->abi_major, (unsigned)p->abi_minor, note->abi_major, note->abi_minor, CWP_ABI_MAJOR, CWP_ABI_MINOR);
	}
	if (p->kind != note->kind) {
		const char *said = cwe_kind_name(p->kind);
		return cwb_err_set(err, CWP_EPLUGIN, "%s: its descriptor says kind %" PRIu32 " (%s), its note %s; make both the same", path,
			p->kind, said != NULL ? said : "unknown", cwe_kind_name(note->kind));
	}
	return 0;
}

static int check_string(const char *text, const char *what, const char *path, struct cwb_err *err)
{
	if (text == NULL || text[0] == '\0') {
		return cwb_err_set(err, CWP_EPLUGIN, "%s: its descriptor has no %s; fill it in", path, what);
	}
	if (strnlen(text, MAX_STRING) == MAX_STRING) {
		return cwb_err_set(err, CWP_EPLUGIN, "%s: its descriptor's %s has %d bytes or more; shorten it", path, what, MAX_STRING);
	}
	for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
		if (*c < 0x20 || *c == 0x7f) {
			return cwb_err_set(err, CWP_EPLUGIN, "%s: its descriptor's %s holds a control character; remove it", path, what);
		}
	}
	return 0;
}

static int check_options(const struct cwp_plugin *p, const char *path, struct cwb_err *err)
{
	if (p->n_options > MAX_OPTIONS || (p->n_options > 0 && p->options == NULL)) {
		return cwb_err_set(err, CWP_EPLUGIN, "%s: its descriptor says %" PRIu32 " options%s; at most %d are possible", path,
			p->n_options, p->options == NULL ? " but has no table" : "", MAX_OPTIONS);
	}
	for (uint32_t i = 0; i < p->n_options; i++) {
		int rc = cwe_option_check(&p->options[i], err);
		if (rc < 0) {
			cwb_err_prefix(err, "%s: option %" PRIu32 " of %" PRIu32, path, i + 1, p->n_options);
			return rc;
		}
		for (uint32_t j = 0; j < i; j++) {
			if (strcmp(p->options[i].name, p->options[j].name) == 0) {
				return cwb_err_set(err, CWP_EPLUGIN, "%s: two options are called '%s'; rename one", path,
					p->options[i].name);
			}
		}
	}
	return 0;
}

int cwe_descriptor_check(const struct cwp_plugin *p, uint64_t symbol_size, const struct cwe_note *note, const char *path,
	struct cwb_err *err)
{
	int rc = check_sizes(p, symbol_size, path, err);

	if (rc == 0) {
		rc = check_versions(p, note, path, err);
	}
	if (rc == 0 && (p->id == NULL || !cwe_id_is_valid(p->id))) {
		rc = cwb_err_set(err, CWP_EPLUGIN, "%s: its id '%.64s' is not 1 to 63 lower-case letters, digits and hyphens, a letter first",
			path, p->id != NULL ? p->id : "(none)");
	}
	const struct {
		const char *text, *what;
	} strings[] = {{rc == 0 ? p->version : NULL, "version"}, {rc == 0 ? p->vendor : NULL, "vendor"},
		{rc == 0 ? p->licence : NULL, "licence"}, {rc == 0 ? p->summary : NULL, "summary"}};
	for (size_t i = 0; rc == 0 && i < sizeof(strings) / sizeof(strings[0]); i++) {
		rc = check_string(strings[i].text, strings[i].what, path, err);
	}
	if (rc == 0) {
		rc = check_options(p, path, err);
	}
	if (rc == 0 && p->get_interface == NULL) {
		rc = cwb_err_set(err, CWP_EPLUGIN, "%s: its descriptor has no get_interface function; fill it in", path);
	}
	return rc;
}

/* Whether one of the pointers from `at` to `end` is not NULL. */
static int has_function(const char *table, size_t at, size_t end)
{
	for (; at < end; at += FUNCTION) {
		void (*function)(void);
		memcpy(&function, table + at, sizeof(function));
		if (function != NULL) {
			return 1;
		}
	}
	return 0;
}

/* Whether the function at `at` must be there: one of no group, or of one of which others are. */
static int is_wanted(const struct kind_interface *k, const char *table, size_t at)
{
	size_t from = 0, to = k->size;

	for (int i = 0; i < GROUPS && k->group[i] != 0; i++) {
		from = k->group[i] <= at ? k->group[i] : from;
		to = k->group[i] > at && k->group[i] < to ? k->group[i] : to;
	}
	return from == 0 || has_function(table, from, to);
}

int cwe_interface_get(const struct cwp_plugin *p, const char *path, const void **ret, struct cwb_err *err)
{
	const struct kind_interface *k = &kinds[p->kind];
	const char *table = p->get_interface(k->id);
	uint32_t size;

	if (table == NULL) {
		return cwb_err_set(err, CWP_EPLUGIN, "%s: plugin '%s' has no interface %s; upgrade it, or this host, so that both know one",
			path, p->id, k->id);
	}
	memcpy(&size, table, sizeof(size));
	/* A size beyond any growth to be expected is something else than a size. */
	if (size < k->size || size > k->size + 4096) {
		return cwb_err_set(err, CWP_EPLUGIN, "%s: interface %s has the size field %" PRIu32 ", expected %" PRIu32
			" or a little more; set it to the sizeof of its struct",
			path, k->id, size, k->size);
	}
	for (size_t at = k->first; at < k->size; at += FUNCTION) {
		if (!has_function(table, at, at + FUNCTION) && is_wanted(k, table, at)) {
			return cwb_err_set(err, CWP_EPLUGIN, "%s: function %zu of interface %s is NULL; fill it in", path,
				(at - k->first) / FUNCTION + 1, k->id);
		}
	}
	*ret = table;
	return 0;
}
