/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What cwpctl says: results on standard output, errors on standard error, and each as JSON where
 * asked for. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cwc.h"

size_t cwc_terminal_width(int fd)
{
	struct winsize size = {0};
	const char *columns = getenv("COLUMNS");
	long given;

	if (!isatty(fd)) {
		return 0;
	}
	if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
		return size.ws_col;
	}
	given = columns ? strtol(columns, NULL, 10) : 0;
	return given > 0 && given < 10000 ? (size_t)given : 80;
}

int cwc_print_json(const struct cwc *cwc, json_t *json)
{
	int status;

	(void)cwc;
	status = json ? json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : -1;
	json_decref(json);
	if (status < 0 || putchar('\n') == EOF || fflush(stdout) == EOF) {
		fputs("cwpctl: the answer could not be written\n", stderr);
		return CWC_TRY_AGAIN;
	}
	return CWC_DONE;
}

void cwc_print(struct cwc_text *text)
{
	fwrite(cwc_text_get(text), 1, text->length, stdout);
	cwc_text_free(text);
}

static int has_place(const char *name)
{
	return strcmp(name, "org.cwpd.Jobs.JobInvalid") == 0 ||
	       strcmp(name, "org.cwpd.Admin.ConfigInvalid") == 0;
}

int cwc_fail(const struct cwc *cwc, int exit, const char *name, const json_t *parameters,
	const char *format, ...)
{
	struct cwc_text text = {0};
	char *message = NULL;
	va_list args;
	int length;

	va_start(args, format);
	length = vasprintf(&message, format, args);
	va_end(args);
	if (length < 0) {
		fputs("cwpctl: out of memory\n", stderr);
		return exit;
	}
	cwc_text_clean(&text, message, (size_t)length, 0);
	(void)fflush(stdout);
	/* A job file's error begins with its place, as a compiler's does, so that editors find it.
	 */
	fprintf(stderr, "%s%s\n", has_place(name) ? "" : "cwpctl: ", cwc_text_get(&text));
	if (cwc->json) {
		(void)cwc_print_json(
			cwc, json_pack("{s:{s:s,s:s,s:i,s:O?}}", "error", "name", name, "message",
				     cwc_text_get(&text), "exit", exit, "parameters", parameters));
	}
	cwc_text_free(&text);
	free(message);
	return exit;
}
