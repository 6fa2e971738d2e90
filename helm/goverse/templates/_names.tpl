{{/* Shortens a text to a maximum length: (list text length). A shortened text ends with a hash of the whole text, so that it stays unique. */}}
{{- define "goverse.short" -}}
{{- $text := index . 0 }}{{ $most := int (index . 1) }}
{{- if le (len $text) $most }}{{ $text }}{{ else }}{{ printf "%s-%s" ($text | trunc (int (sub $most 9)) | trimSuffix "-" | trimSuffix ".") ($text | sha256sum | trunc 8) }}{{ end }}
{{- end }}

{{/* At most 36 characters, because the name of a CronJob may have 52 and ends with -backup-postgres. */}}
{{- define "goverse.name" -}}
{{- include "goverse.short" (list (ternary .Release.Name (printf "%s-goverse" .Release.Name) (contains "goverse" .Release.Name)) 36) }}
{{- end }}

{{- define "goverse.cluster" -}}
{{ .Values.cluster.name | default (include "goverse.short" (list (printf "%s.%s" .Release.Namespace (include "goverse.name" .)) 64)) }}
{{- end }}

{{/* Labels that select the Pods of a part: (dict "root" $ "part" "node") */}}
{{- define "goverse.selector" -}}
app.kubernetes.io/name: goverse
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .part | quote }}
{{- end }}

{{- define "goverse.labels" -}}
{{ include "goverse.selector" . }}
app.kubernetes.io/part-of: goverse
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | quote }}
{{- end }}

{{- define "goverse.metadata" -}}
name: {{ include "goverse.name" .root }}-{{ .suffix | default .part }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "goverse.labels" . | nindent 2 }}
{{- end }}

{{/* The secret with the certificate of a part. */}}
{{- define "goverse.tlsSecret" -}}
{{- if eq .root.Values.tls.source "existing" }}{{ get .root.Values.tls.existing .part }}{{ else }}{{ include "goverse.name" .root }}-{{ .part }}-tls{{ end }}
{{- end }}

{{- define "goverse.postgresSecret" -}}
{{- if not .Values.postgres.bundled }}{{ .Values.postgres.external.passwordSecret }}{{ else }}{{ .Values.postgres.existingSecret | default (printf "%s-postgres" (include "goverse.name" .)) }}{{ end }}
{{- end }}

{{- define "goverse.gatePort" -}}
{{ .Values.gates.service.port | default (ternary 443 80 .Values.tls.enabled) }}
{{- end }}

{{/* With `auto`, the query of the API server takes additional time. */}}
{{- define "goverse.nodeGrace" -}}
{{ add (int .Values.cluster.preStopDelayS) (mul 4 (int .Values.cluster.drainTimeoutS)) (ternary 20 15 (eq .Values.nodes.shutdown "auto")) }}
{{- end }}

{{- define "goverse.gateGrace" -}}
{{ add (int .Values.cluster.preStopDelayS) (int .Values.cluster.drainTimeoutS) 15 }}
{{- end }}
