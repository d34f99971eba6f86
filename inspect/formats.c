/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Verb formats: which grids of the quantizers each format carries, and which engines load each carrier, as tables of
 * Markdown. Made of the declarations that jobs are checked against; README has a copy. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/format/support.h"
#include "engine/plugin/settings.h"
#include "inspect/inspect.h"

#define OPTIONS 4
/* A matrix that every group and block divides. */
#define ROWS 512
#define COLS 1024

static const struct {
	const char *plugin;
	const char *option[OPTIONS][2];
} settings[] = {
	{"static", {{"bits", "2"}, {"granularity", "group"}}},
	{"static", {{"bits", "3"}, {"granularity", "group"}}},
	{"static", {{"bits", "4"}, {"granularity", "channel"}}},
	{"static", {{"bits", "4"}, {"granularity", "group"}}},
	{"static", {{"bits", "4"}, {"granularity", "group"}, {"symmetric", "false"}}},
	{"static", {{"bits", "8"}, {"granularity", "channel"}}},
	{"static", {{"bits", "8"}, {"granularity", "channel"}, {"symmetric", "false"}}},
	{"static", {{"bits", "8"}, {"granularity", "group"}}},
	{"static", {{"bits", "8"}, {"granularity", "tensor"}}},
	{"static", {{"bits", "8"}, {"activations", "dynamic"}}},
	{"static", {{"bits", "8"}, {"activations", "static"}}},
	{"int8", {{"activations", "dynamic"}}},
	{"int8", {{"activations", "none"}}},
	{"fp8", {{"granularity", "channel"}, {"activations", "dynamic"}}},
	{"fp8", {{"granularity", "channel"}, {"activations", "none"}}},
	{"fp8", {{"granularity", "tensor"}, {"activations", "static"}}},
	{"fp8", {{"granularity", "block"}, {"activations", "dynamic"}}},
};

static void print_heads(void)
{
	const struct cwe_format *f;
	(void)fputs("| quantizer | options |", stdout);
	for (size_t i = 0; (f = cwe_format_at(i)) != NULL; i++) {
		(void)printf(" %s |", f->name);
	}
	(void)fputs("\n| --- | --- |", stdout);
	for (size_t i = 0; cwe_format_at(i) != NULL; i++) {
		(void)fputs(" --- |", stdout);
	}
	(void)fputc('\n', stdout);
}

/* The grid of settings; not 0 where the plugin refuses them. */
static int make_grid(const struct cwe_plugin *plugin, size_t n, struct cwp_grid *ret)
{
	const struct cwp_quantizer *q = plugin->interface;
	struct cwj_option option[OPTIONS] = {{0}};
	struct cwp_setting *made = NULL;
	struct cwp_grid grid = {.size = sizeof grid};
	char text[256] = "";
	size_t count = 0;
	while (count < OPTIONS && settings[n].option[count][0] != NULL) {
		option[count].name = (char *)(uintptr_t)settings[n].option[count][0];
		option[count].value = (char *)(uintptr_t)settings[n].option[count][1];
		count++;
	}
	int r = cwe_settings_make(plugin->descriptor, "quantize", option, count, &made, NULL);
	r = r == 0 ? q->grid(made, ROWS, COLS, &grid, text, sizeof text) : r;
	cwe_settings_free(plugin->descriptor, made);
	*ret = grid;
	return r;
}

static void print_cells(const struct cwp_grid *grid)
{
	const struct cwe_output_module m = {.name = "model.layers.0.mlp.down_proj", .rows = ROWS, .cols = COLS, .grid = *grid};
	const struct cwe_format *f;
	for (size_t i = 0; (f = cwe_format_at(i)) != NULL; i++) {
		const struct cwe_format_grid *family = cwe_format_family(f, grid);
		int carried = family != NULL && cwe_format_check(f, &m, NULL) == 0;
		(void)printf(" %s |", carried ? family->layout : "refused");
	}
}

static int print_grids(struct cwe_registry *registry, struct cwb_err *err)
{
	print_heads();
	for (size_t n = 0; n < sizeof settings / sizeof *settings; n++) {
		const struct cwe_plugin *plugin = NULL;
		struct cwp_grid grid;
		int r = cwe_registry_find(registry, CWP_KIND_QUANTIZER, settings[n].plugin, &plugin, err);
		if (r != 0) {
			return r;
		}
		(void)printf("| %s |", settings[n].plugin);
		for (size_t k = 0; k < OPTIONS && settings[n].option[k][0] != NULL; k++) {
			(void)printf("%s %s %s", k > 0 ? "," : "", settings[n].option[k][0], settings[n].option[k][1]);
		}
		(void)fputs(" |", stdout);
		if (make_grid(plugin, n, &grid) == 0) {
			print_cells(&grid);
		} else {
			for (size_t i = 0; cwe_format_at(i) != NULL; i++) {
				(void)fputs(" refused |", stdout);
			}
		}
		(void)fputc('\n', stdout);
	}
	return 0;
}

static void print_carriers(void)
{
	const struct cwe_format *f;
	(void)fputs("\n| format |", stdout);
	for (size_t c = 0; cwe_carrier_name(c) != NULL; c++) {
		(void)printf(" %s |", cwe_carrier_name(c));
	}
	(void)fputs("\n| --- |", stdout);
	for (size_t c = 0; cwe_carrier_name(c) != NULL; c++) {
		(void)fputs(" --- |", stdout);
	}
	(void)fputc('\n', stdout);
	for (size_t i = 0; (f = cwe_format_at(i)) != NULL; i++) {
		(void)printf("| %s |", f->name);
		for (size_t c = 0; cwe_carrier_name(c) != NULL; c++) {
			const struct cwe_support *s = cwe_support_find(f, c);
			if (s == NULL) {
				(void)printf(" %s |", f->carriers & CWE_SET(c) ? "not tested" : "refused");
			} else {
				(void)printf(" %s (%s) |", s->engine, s->test);
			}
		}
		(void)fputc('\n', stdout);
	}
}

int cwi_formats(const struct cwi_options *o)
{
	struct cwb_err err = {0};
	struct cwi_engine e = {0};
	int r = cwi_engine_open(o, NULL, &e, &err);
	if (r == 0) {
		r = print_grids(e.registry, &err);
		print_carriers();
		cwi_engine_close(&e);
	}
	return r == 0 ? 0 : cwi_fail(&err);
}
