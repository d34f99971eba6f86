/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Reads a report.json from standard input and prints its page, so that tests can look at one: report_render page|sweep|card. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pipeline/report.h"
#include "engine/pipeline/sweep.h"

int main(int argc, char **argv)
{
	json_error_t at;
	json_t *report = json_loadf(stdin, 0, &at);
	char *text = NULL;
	size_t length = 0;
	const char *as = argc == 2 ? argv[1] : "";
	int r = -1;
	if (report == NULL) {
		fprintf(stderr, "line %d: %s\n", at.line, at.text);
		return 65;
	}
	if (strcmp(as, "page") == 0) {
		r = cwe_report_html(report, &text, &length);
	} else if (strcmp(as, "sweep") == 0) {
		r = cwe_sweep_html(report, &text, &length);
	} else if (strcmp(as, "card") == 0) {
		r = cwe_report_card(report, &text, &length);
	}
	if (r == 0 && fwrite(text, 1, length, stdout) != length) {
		r = -1;
	}
	free(text);
	json_decref(report);
	return r == 0 ? 0 : 64;
}
