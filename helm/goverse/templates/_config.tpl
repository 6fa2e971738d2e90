{{/* The configuration file of gates and nodes: the settings of the chart, overridden by those in `config`. */}}
{{- define "goverse.config" -}}
{{- $name := include "goverse.name" . }}
{{- $etcd := dict }}
{{- if .Values.etcd.bundled }}
  {{- $endpoints := list }}
  {{- range until 3 }}
    {{- $endpoints = append $endpoints (printf "%s://%s-etcd-%d.%s-etcd.%s.svc:2379" (ternary "https" "http" $.Values.tls.enabled) $name . $name $.Release.Namespace) }}
  {{- end }}
  {{- $_ := set $etcd "endpoints" $endpoints }}
  {{- if .Values.tls.enabled }}
    {{- $etcd = merge $etcd (dict "tls_ca" "/etc/goverse/tls/ca.crt" "tls_cert" "/etc/goverse/tls/tls.crt" "tls_key" "/etc/goverse/tls/tls.key") }}
  {{- end }}
{{- else }}
  {{- $_ := set $etcd "endpoints" .Values.etcd.external.endpoints }}
  {{- with .Values.etcd.external.username }}{{ $_ := set $etcd "username" . }}{{ end }}
  {{- if .Values.etcd.external.tlsSecret }}{{ $_ := set $etcd "tls_ca" "/etc/goverse/etcd/ca.crt" }}{{ end }}
  {{- if .Values.etcd.external.clientCertificate }}{{ $etcd = merge $etcd (dict "tls_cert" "/etc/goverse/etcd/tls.crt" "tls_key" "/etc/goverse/etcd/tls.key") }}{{ end }}
{{- end }}
{{- $dsn := .Values.postgres.external.dsn }}
{{- if .Values.postgres.bundled }}
  {{- $dsn = printf "postgresql://goverse@%s-postgres.%s.svc:5432/goverse" $name .Release.Namespace }}
  {{- if .Values.tls.enabled }}{{ $dsn = printf "%s?sslmode=verify-full&sslrootcert=/etc/goverse/postgres/ca.crt" $dsn }}{{ end }}
{{- else if .Values.postgres.external.caSecret }}
  {{- $dsn = printf "%s%ssslrootcert=/etc/goverse/postgres/ca.crt" $dsn (ternary "&" "?" (contains "?" $dsn)) }}
{{- end }}
{{- $gate := dict "host" "0.0.0.0" "port" 8000 "allow_unauthenticated_remote" true "allowed_origins" .Values.gates.allowedOrigins "drain_timeout_s" .Values.cluster.drainTimeoutS }}
{{- $wire := dict "allow_plaintext_remote" true }}
{{- if .Values.tls.enabled }}
  {{- $gate = merge $gate (dict "tls_cert" "/etc/goverse/tls/tls.crt" "tls_key" "/etc/goverse/tls/tls.key") }}
  {{- $wire = dict "tls_ca" "/etc/goverse/tls/ca.crt" "tls_cert" "/etc/goverse/tls/tls.crt" "tls_key" "/etc/goverse/tls/tls.key" "tls_name" "goverse-node" }}
  {{- if ne .Values.tls.source "existing" }}{{ $_ := set $wire "tls_gate_name" "goverse-gate" }}{{ end }}
{{- end }}
{{- $cluster := dict "name" (include "goverse.cluster" .) "shards" .Values.cluster.shards "lease_ttl_s" .Values.cluster.leaseTtlS "nodes_min" .Values.cluster.nodesMin "listen" "0.0.0.0:7400" "admin_listen" "0.0.0.0:7480" "pre_stop_delay_s" .Values.cluster.preStopDelayS }}
{{- $ours := dict "cluster" $cluster "etcd" $etcd "gate" $gate "postgres" (dict "dsn" $dsn) "log" (dict "format" "json" "level" .Values.cluster.logLevel) "wire" $wire }}
{{- mergeOverwrite $ours (deepCopy .Values.config) | toYaml }}
{{- end }}

{{/* Host names that callers may use: those of the Service and the Ingress, and gates.allowedHosts. */}}
{{- define "goverse.gateNames" -}}
{{- $service := printf "%s-gate" (include "goverse.name" .) }}
{{- $names := list $service (printf "%s.%s" $service .Release.Namespace) (printf "%s.%s.svc" $service .Release.Namespace) (printf "%s.%s.svc.cluster.local" $service .Release.Namespace) }}
{{- if .Values.ingress.enabled }}{{ $names = append $names .Values.ingress.host }}{{ end }}
{{- $names | toJson }}
{{- end }}
