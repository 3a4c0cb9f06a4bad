# The official Collector, which has no shell, with a program to ask it how it is and a folder for its queue.
FROM busybox:1.37.0-musl AS tools
RUN mkdir /queue

FROM otel/opentelemetry-collector-contrib:0.155.0
COPY --from=tools /bin/busybox /bin/busybox
COPY --from=tools --chown=10001:10001 /queue /var/lib/otelcol
