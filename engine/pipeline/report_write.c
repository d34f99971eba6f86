/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A report as the three files of an output. */
#include <errno.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/pipeline/report.h"

static int write_json(int folder, const json_t *report, struct cwb_err *err)
{
	size_t length = 0;
	char *text = cwb_json_text(report, JSON_INDENT(1) | JSON_PRESERVE_ORDER, &length);
	int r = text != NULL ? cwb_file_replace(folder, "report.json", text, length, 0644, err)
			     : cwb_err_set(err, -ENOMEM, "no memory for the report");
	free(text);
	return r;
}

static int write_html(int folder, const json_t *report, struct cwb_err *err)
{
	char *html = NULL;
	size_t length = 0;
	int r = cwe_report_html(report, &html, &length);
	r = r == 0 ? cwb_file_replace(folder, "report.html", html, length, 0644, err)
		   : cwb_err_set(err, r, "no memory for the report");
	free(html);
	return r;
}

static int write_card(int folder, const json_t *report, struct cwb_err *err)
{
	char *text = NULL;
	size_t length = 0;
	int r = cwe_report_card(report, &text, &length);
	r = r == 0 ? cwb_file_replace(folder, "README.md", text, length, 0644, err)
		   : cwb_err_set(err, r, "no memory for the model card");
	free(text);
	return r;
}

int cwe_report_write(int folder, const json_t *report, struct cwb_err *err)
{
	int r = write_json(folder, report, err);
	r = r == 0 ? write_html(folder, report, err) : r;
	return r == 0 ? write_card(folder, report, err) : r;
}
