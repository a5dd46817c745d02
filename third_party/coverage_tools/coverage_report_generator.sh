#!/bin/sh
echo "coverage reports are not collected in this build" >&2
exit 1
