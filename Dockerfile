# One image for every service and the CLI:  docker run ytarchive service jobs
FROM python:3.11-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE hatch_build.py ./
COPY bus bus
COPY services services
COPY page page
COPY ytarchive ytarchive
RUN pip install --no-cache-dir --constraint constraints.txt . && rm -rf /src
# docker build --build-arg YTDLP=latest (or a version): a newer yt-dlp than that of constraints.txt
ARG YTDLP=
RUN case "$YTDLP" in \
      "") ;; \
      latest) pip install --no-cache-dir -U "yt-dlp[default]" ;; \
      *) pip install --no-cache-dir "yt-dlp[default]==$YTDLP" ;; \
    esac
RUN touch /etc/ytarchive-image # the update command that messages show
# Whatever PUID is, that user may enter the home directory, which is the working directory.
RUN useradd --create-home --uid 1000 archivist && chmod 0755 /home/archivist \
 && mkdir -p /data /archive && chown archivist:archivist /data /archive
COPY docker-entrypoint.sh /usr/local/bin/
WORKDIR /home/archivist
ENV HOME=/home/archivist \
    YTARCHIVE_STORAGE__BASE_DATA_DIR=/data \
    YTARCHIVE_STORAGE__BASE_PATH=/archive
# Starts as root only to become PUID:PGID; `docker run --user` is kept.
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["up"]
