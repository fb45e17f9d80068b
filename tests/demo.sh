#!/bin/sh
# The tour: filled in as the commands come to be.
set -eu
"$1" version
