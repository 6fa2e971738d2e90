{{/* The Pod that brings the database to the schema of this release. */}}
{{- define "goverse.migration" -}}
{{- include "goverse.pod" (dict "root" . "part" "tools") }}
restartPolicy: OnFailure
containers:
  - name: migrate
    image: {{ .Values.images.tools }}
    args: [db, {{ ternary "init" "migrate" .Values.postgres.bundled }}]
    {{- include "goverse.container" . | nindent 4 }}
    env:
      # No configuration file: as a hook it runs before there is one.
      - name: GOVERSE_POSTGRES__DSN
        value: {{ (include "goverse.config" . | fromYaml).postgres.dsn | quote }}
      {{- include "goverse.databaseEnv" . | nindent 6 }}
      {{- if .Values.postgres.bundled }}
      - name: ADMIN_PASSWORD
        valueFrom: { secretKeyRef: { name: {{ include "goverse.postgresSecret" . }}, key: admin-password } }
      - name: GOVERSE_ADMIN_DSN
        value: "postgresql://postgres:$(ADMIN_PASSWORD)@{{ include "goverse.name" . }}-postgres.{{ .Release.Namespace }}.svc:5432/postgres{{ if .Values.tls.enabled }}?sslmode=verify-full&sslrootcert=/etc/goverse/postgres/ca.crt{{ end }}"
      {{- end }}
    volumeMounts:
      - { name: tmp, mountPath: /tmp }
      {{- include "goverse.databaseMounts" . | nindent 6 }}
    resources:
      {{- toYaml .Values.migration.resources | nindent 6 }}
volumes:
  - name: tmp
    emptyDir: { sizeLimit: 64Mi }
  {{- include "goverse.databaseVolumes" . | nindent 2 }}
{{- end }}
