/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* cwpctl: speaks the control protocol for people and scripts, and knows nothing that the protocol
 * does not say. */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cwc.h"

/* no-color.org: set and not empty. */
static int may_colour(const struct cwc *cwc)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return cwc->terminal && !cwc_option_given(cwc, "no-color") && !(no && *no) && term &&
	       strcmp(term, "dumb") != 0;
}

int main(int argc, char **argv)
{
	struct cwc cwc = {0};
	const char *folder;
	int status;

	/* Widths of characters: what we print is UTF-8 whatever the locale, the rest stays the C
	 * locale's. */
	if (!setlocale(LC_CTYPE, "C.UTF-8")) {
		(void)setlocale(LC_CTYPE, "");
	}
	status = cwc_options_parse(&cwc, argc, argv);
	if (status < 0) {
		folder = cwc_option_value(&cwc, "socket", 0);
		if (!folder) {
			folder = getenv("CWP_SOCKET");
		}
		cwc.folder = folder && *folder ? folder : NULL;
		cwc.json = cwc_option_given(&cwc, "json");
		cwc.width = cwc_terminal_width(STDOUT_FILENO);
		cwc.terminal = cwc.width > 0;
		cwc.colour = may_colour(&cwc);
		status = cwc.verb->run(&cwc);
	}
	if (fflush(stdout) == EOF && status == CWC_DONE) {
		perror("cwpctl: standard output");
		status = CWC_TRY_AGAIN;
	}
	free(cwc.setting);
	free(cwc.operand);
	return status;
}
