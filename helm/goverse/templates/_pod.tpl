{{/* Common part of all Pods: (dict "root" $ "part" "gate" "account" "gate" "uid" 65532 "token" false). */}}
{{- define "goverse.pod" -}}
serviceAccountName: {{ include "goverse.name" .root }}-{{ .account | default .part }}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: false
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .uid | default 65532 }}
  runAsGroup: {{ .uid | default 65532 }}
  fsGroup: {{ .uid | default 65532 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "goverse.container" -}}
imagePullPolicy: {{ .Values.images.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{/* Placement of the Pods of a part: (dict "root" $ "part" "gate"). */}}
{{- define "goverse.placement" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: {{ .root.Values.spread.zones }}
    labelSelector:
      matchLabels:
        {{- include "goverse.selector" . | nindent 8 }}
affinity:
  podAntiAffinity:
    {{- if eq .root.Values.spread.hosts "required" }}
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "goverse.selector" . | nindent 12 }}
    {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "goverse.selector" . | nindent 14 }}
    {{- end }}
{{- end }}

{{/* Environment with the Pod's name and address, and the paths of configuration and passwords. */}}
{{- define "goverse.env" -}}
- { name: POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
- { name: POD_NAMESPACE, valueFrom: { fieldRef: { fieldPath: metadata.namespace } } }
- { name: POD_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
- { name: GOVERSE_CONFIG, value: /etc/goverse/config/goverse.yaml }
{{- if and (not .Values.etcd.bundled) .Values.etcd.external.passwordSecret }}
- { name: GOVERSE_ETCD__PASSWORD_FILE, value: /etc/goverse/etcd-password/password }
{{- end }}
{{- end }}

{{- define "goverse.databaseEnv" -}}
{{- if include "goverse.postgresSecret" . }}
- { name: GOVERSE_POSTGRES__PASSWORD_FILE, value: /etc/goverse/postgres-password/password }
{{- end }}
{{- end }}

{{- define "goverse.mounts" -}}
- { name: config, mountPath: /etc/goverse/config, readOnly: true }
- { name: tmp, mountPath: /tmp }
{{- if .Values.tls.enabled }}
- { name: tls, mountPath: /etc/goverse/tls, readOnly: true }
{{- end }}
{{- if and (not .Values.etcd.bundled) .Values.etcd.external.tlsSecret }}
- { name: etcd-tls, mountPath: /etc/goverse/etcd, readOnly: true }
{{- end }}
{{- if and (not .Values.etcd.bundled) .Values.etcd.external.passwordSecret }}
- { name: etcd-password, mountPath: /etc/goverse/etcd-password, readOnly: true }
{{- end }}
{{- end }}

{{/* Volumes of a gate or node: (dict "root" $ "part" "gate"). */}}
{{- define "goverse.volumes" -}}
- name: config
  configMap: { name: {{ include "goverse.name" .root }}-config }
- name: tmp
  emptyDir: { sizeLimit: 64Mi }
{{- if .root.Values.tls.enabled }}
- name: tls
  secret: { secretName: {{ include "goverse.tlsSecret" . }}, defaultMode: 0440 }
{{- end }}
{{- if and (not .root.Values.etcd.bundled) .root.Values.etcd.external.tlsSecret }}
- name: etcd-tls
  secret: { secretName: {{ .root.Values.etcd.external.tlsSecret }}, defaultMode: 0440 }
{{- end }}
{{- if and (not .root.Values.etcd.bundled) .root.Values.etcd.external.passwordSecret }}
- name: etcd-password
  secret: { secretName: {{ .root.Values.etcd.external.passwordSecret }}, defaultMode: 0440 }
{{- end }}
{{- end }}

{{/* The Secret with the CA certificate of the database, or empty if none is mounted. */}}
{{- define "goverse.postgresCa" -}}
{{- if .Values.postgres.bundled }}{{ if .Values.tls.enabled }}{{ include "goverse.tlsSecret" (dict "root" . "part" "postgres") }}{{ end }}{{ else }}{{ .Values.postgres.external.caSecret }}{{ end }}
{{- end }}

{{- define "goverse.databaseMounts" -}}
{{- if include "goverse.postgresSecret" . }}
- { name: postgres-password, mountPath: /etc/goverse/postgres-password, readOnly: true }
{{- end }}
{{- if include "goverse.postgresCa" . }}
- { name: postgres-ca, mountPath: /etc/goverse/postgres, readOnly: true }
{{- end }}
{{- end }}

{{- define "goverse.databaseVolumes" -}}
{{- with include "goverse.postgresSecret" . }}
- name: postgres-password
  secret: { secretName: {{ . }}, defaultMode: 0440, items: [{ key: password, path: password }] }
{{- end }}
{{- with include "goverse.postgresCa" . }}
- name: postgres-ca
  secret: { secretName: {{ . }}, defaultMode: 0440, items: [{ key: ca.crt, path: ca.crt }] }
{{- end }}
{{- end }}
