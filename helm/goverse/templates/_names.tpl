{{- define "goverse.name" -}}
{{- if contains "goverse" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-goverse" (.Release.Name | trunc 32 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "goverse.cluster" -}}
{{ .Values.cluster.name | default (printf "%s.%s" .Release.Namespace (include "goverse.name" .) | trunc 64) }}
{{- end }}

{{/* Labels that select the Pods of a part: (dict "root" $ "part" "node") */}}
{{- define "goverse.selector" -}}
app.kubernetes.io/name: goverse
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "goverse.labels" -}}
{{ include "goverse.selector" . }}
app.kubernetes.io/part-of: goverse
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "goverse.metadata" -}}
name: {{ include "goverse.name" .root }}-{{ .suffix | default .part }}
namespace: {{ .root.Release.Namespace }}
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

{{- define "goverse.nodeGrace" -}}
{{ add (int .Values.cluster.preStopDelayS) (mul 4 (int .Values.cluster.drainTimeoutS)) 15 }}
{{- end }}

{{- define "goverse.gateGrace" -}}
{{ add (int .Values.cluster.preStopDelayS) (int .Values.cluster.drainTimeoutS) 15 }}
{{- end }}
