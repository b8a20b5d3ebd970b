#!/bin/sh
# Runs ytarchive as the user PUID:PGID (1000:1000) with the umask UMASK (022). A container that is started as another
# user (`docker run --user`) keeps that one.
set -eu
umask "${UMASK:-022}"
if [ "$(id -u)" != 0 ]; then
  exec tini -- ytarchive "$@" # reaps orphaned processes of a killed yt-dlp
fi
uid=${PUID:-1000} gid=${PGID:-1000}
for folder in "$YTARCHIVE_STORAGE__BASE_DATA_DIR" "$YTARCHIVE_STORAGE__BASE_PATH"; do
  # a fresh volume belongs to root; what is in a used one is left as it is
  if [ -d "$folder" ] && [ -z "$(ls -A "$folder")" ]; then
    chown "$uid:$gid" "$folder"
  fi
done
exec setpriv --reuid "$uid" --regid "$gid" --clear-groups -- tini -- ytarchive "$@"
